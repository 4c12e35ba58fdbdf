//! Keepers of services with real processes: what ends, what is left, what is told, and what a kill
//! of the keeper itself at any moment loses (nothing). `HOP_KEEPER=full` kills 200 times.

mod kept;
mod kill;
mod run;
mod said;
mod stop;
