//! `mapproxy-util`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mapproxy_util::util::main()
}
