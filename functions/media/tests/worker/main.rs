//! The worker, on real sockets: a carrier that connects to it, vendors that serve it, a table and a
//! bucket.

#![cfg(test)]

mod beginning;
mod ending;
mod failing;
mod moving;
mod talking;
mod world;
