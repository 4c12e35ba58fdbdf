//! hop against a server as it is: systemd as process 1, a real sshd, sudo. Needs root.

mod agent;
mod bench;
mod contexts;
mod endpoints;
mod foreign;
mod helpers;
mod lab;
mod life;
mod logins;
mod machine;
mod numbers;
mod older;
mod password;
mod preflight;
mod proof;
mod secrets;
mod services;
mod setup;
mod site;
mod stopped;
mod sudoers;
mod together;
mod trouble;
mod two_users;
mod upgrade;
mod ways;
