//! The command line with what the workspace brings.

use std::process::ExitCode;

use shootdown::Registry;

fn main() -> ExitCode {
    shootdown::cli(Registry::standard())
}
