//! `mapproxy-util completions` and `mapproxy-util man`: for shells and manuals, made of the command lines themselves.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

use crate::{FAILED, Failure, println};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:

  mapproxy-util completions bash > /etc/bash_completion.d/mapproxy-util
  mapproxy-util completions zsh > ~/.zfunc/_mapproxy-util
  mapproxy-util completions fish > ~/.config/fish/completions/mapproxy-util.fish
  mapproxy-util completions --program mapproxy-seed bash > /etc/bash_completion.d/mapproxy-seed")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
    /// The program whose options shall be completed
    #[arg(long, value_enum, default_value_t = Program::MapproxyUtil)]
    program: Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Program {
    MapproxyUtil,
    MapproxySeed,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:

  mapproxy-util man /usr/local/share/man/man1")]
pub(crate) struct Manuals {
    /// Where to write them; the directory is made
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::MapproxyUtil => "mapproxy-util",
            Program::MapproxySeed => "mapproxy-seed",
        }
    }

    fn command(self) -> Command {
        match self {
            Program::MapproxyUtil => crate::util::command(),
            Program::MapproxySeed => crate::seed::command(),
        }
    }
}

/// Writes the script to standard output.
pub(crate) fn completions(arguments: &Completions) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut arguments.program.command(), arguments.program.name(), &mut script);
    println(format_args!("{}", String::from_utf8_lossy(&script).trim_end()));
    Ok(ExitCode::SUCCESS)
}

/// One page for each program, and one for each of its commands.
pub(crate) fn manuals(arguments: &Manuals) -> Result<ExitCode, Failure> {
    let directory = &arguments.directory;
    let cannot = |error: std::io::Error| {
        Failure::new(FAILED, format_args!("ERROR: cannot write manuals to {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(cannot)?;
    for program in Program::value_variants() {
        clap_mangen::generate_to(program.command(), directory).map_err(cannot)?;
    }
    let mut pages: Vec<_> =
        std::fs::read_dir(directory).map_err(cannot)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    pages.sort();
    let is_ours = |name: &str| Program::value_variants().iter().any(|program| name.starts_with(program.name()));
    for page in pages.iter().filter(|page| page.file_name().and_then(|name| name.to_str()).is_some_and(is_ours)) {
        println(format_args!("writing {}", page.display()));
    }
    Ok(ExitCode::SUCCESS)
}
