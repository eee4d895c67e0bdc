//! `stoker-hooks`: how a running charm talks to its agent.
//!
//! Owns the documents on the tool socket ([`wire`]), the blocking client ([`client`]), the names and command
//! lines of the hook tools ([`tools`]), and the multi-call binary `stoker-hook`. It must not decide what a tool
//! does (the agent's hook server does), and uses no threads, channels or async: a tool call must cost no more
//! than a process start.

pub mod client;
pub mod tools;
pub mod wire;
