//! `cargo xtask licences`: every dependency comes from crates.io under a licence that deny.toml allows.
//!
//! The same lists as cargo-deny reads, checked with nothing but `cargo metadata`, so that a machine without cargo-deny
//! need not build it. Advisories need cargo-deny itself.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(crate) fn run() -> Result<()> {
    let text = fs::read_to_string(workspace::root().join("deny.toml")).context("cannot read deny.toml")?;
    let allowed = allowed_licences(&text)?;
    let metadata = workspace::metadata()?;
    let packages = metadata["packages"].as_array().context("no packages in the metadata")?;
    let faults: Vec<String> = packages.iter().filter_map(|package| fault(package, &allowed)).collect();
    if !faults.is_empty() {
        bail!("{} packages may not be used:\n{}", faults.len(), faults.join("\n"));
    }
    println!("licences: {} packages, all allowed", packages.len());
    Ok(())
}

/// The strings of `allow = [ … ]` under `[licenses]`.
fn allowed_licences(deny: &str) -> Result<Vec<String>> {
    let section = deny.split("[licenses]").nth(1).context("deny.toml has no [licenses]")?;
    let list = section.split("allow = [").nth(1).and_then(|rest| rest.split(']').next());
    let list = list.context("deny.toml allows no licences")?;
    let allowed: Vec<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    ensure!(!allowed.is_empty(), "deny.toml allows no licences");
    Ok(allowed)
}

fn fault(package: &Value, allowed: &[String]) -> Option<String> {
    let name = format!("{} {}", package["name"].as_str()?, package["version"].as_str()?);
    match package["source"].as_str() {
        Some(CRATES_IO) | None => {}
        Some(other) => return Some(format!("{name}: comes from {other}")),
    }
    let Some(expression) = package["license"].as_str() else {
        return Some(format!("{name}: states no licence"));
    };
    match satisfied(expression, allowed) {
        Ok(true) => None,
        Ok(false) => Some(format!("{name}: {expression}")),
        Err(error) => Some(format!("{name}: {expression}: {error}")),
    }
}

/// Whether an SPDX licence expression can be met with the allowed licences. `/`, as old crates write it, is OR; an
/// exception (WITH) only adds permissions.
fn satisfied(expression: &str, allowed: &[String]) -> Result<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let answer = any_of(&mut words, allowed)?;
    ensure!(words.next().is_none(), "not an SPDX expression");
    Ok(answer)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[String]) -> Result<bool> {
    let mut answer = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        answer |= all_of(words, allowed)?;
    }
    Ok(answer)
}

fn all_of(words: &mut Words<'_>, allowed: &[String]) -> Result<bool> {
    let mut answer = single(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        answer &= single(words, allowed)?;
    }
    Ok(answer)
}

fn single(words: &mut Words<'_>, allowed: &[String]) -> Result<bool> {
    match words.next() {
        Some("(") => {
            let answer = any_of(words, allowed)?;
            ensure!(words.next() == Some(")"), "a bracket is not closed");
            Ok(answer)
        }
        Some(licence) if !matches!(licence, "OR" | "AND" | "WITH" | ")") => {
            if words.next_if_eq(&"WITH").is_some() {
                words.next().context("an exception without a name")?;
            }
            Ok(allowed.iter().any(|one| one == licence))
        }
        _ => bail!("not an SPDX expression"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_as_spdx_means_them() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "IJG".to_owned()];
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR Apache-2.0) AND IJG", true),
            ("GPL-3.0-only OR MIT AND BSD-3-Clause", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT/Apache-2.0", true),
        ] {
            assert_eq!(satisfied(expression, &allowed).unwrap(), expected, "{expression}");
        }
        for nonsense in ["", "MIT OR", "(MIT", "MIT MIT"] {
            assert!(satisfied(nonsense, &allowed).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn a_package_from_elsewhere_is_refused() {
        let package =
            serde_json::json!({"name": "x", "version": "1.0.0", "license": "MIT", "source": "git+https://e.org"});
        assert_eq!(fault(&package, &["MIT".to_owned()]).unwrap(), "x 1.0.0: comes from git+https://e.org");
    }
}
