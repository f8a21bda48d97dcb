//! The worker, on real sockets: a carrier that connects to it, vendors that serve it, a table and a
//! bucket.

#![cfg(test)]

mod beginning;
mod breaking;
mod calling;
mod clips;
mod credentials;
mod ending;
mod failing;
mod faults;
mod filtering;
mod hearing;
mod measuring;
mod moving;
mod sounding;
mod talking;
mod world;
