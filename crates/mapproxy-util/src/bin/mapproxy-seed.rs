//! `mapproxy-seed`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mapproxy_util::seed::main()
}
