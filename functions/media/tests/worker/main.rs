//! The worker, on real sockets: a carrier that connects to it, vendors that serve it, a table and a
//! bucket.

#![cfg(test)]

mod beginning;
mod breaking;
mod calling;
mod credentials;
mod ending;
mod failing;
mod filtering;
mod moving;
mod sounding;
mod talking;
mod world;
