//! Services below the real `stoker-shim`: started, watched, stopped, lost and found again.

mod endings;
mod lost;
mod place;
mod run;
mod running;
