//! `mapproxy-util wms-capabilities`: the layers of another server's WMS, as they are needed for sources.

use std::process::ExitCode;

use clap::ValueEnum;

use crate::capabilities::wms::{Layer, Unreadable, WmsCapabilities};
use crate::yaml_out::float;
use crate::{FAILED, Failure, MISTAKEN, eprintln, fetch, println};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "The text is for reading; it is no configuration. `mapproxy-util autoconfig` writes one.

Examples:

  mapproxy-util wms-capabilities https://example.org/wms
  mapproxy-util wms-capabilities --version 1.3.0 'https://example.org/wms?map=roads'")]
pub(crate) struct Arguments {
    /// Address of the WMS
    #[arg(long, value_name = "URL")]
    host: Option<String>,
    /// Version of the document to ask for
    #[arg(long, value_enum, default_value = "1.1.1")]
    version: Asked,
    /// Address of the WMS
    #[arg(value_name = "URL")]
    url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    #[value(name = "1.1.1")]
    V111,
    #[value(name = "1.3.0")]
    V130,
}

/// Parameters of the request for capabilities.
pub(crate) fn request(url: &str, version: &str) -> String {
    fetch::with_parameters(url, &[("service", "WMS"), ("version", version), ("request", "GetCapabilities")])
}

/// Status 2 without address, 1 where there is no such document, or one with faults.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Some(url) = arguments.host.as_ref().or(arguments.url.as_ref()) else {
        let missing = Failure::with_usage("ERROR: the address of a WMS is required.");
        return Err(Failure { status: MISTAKEN, ..missing });
    };
    let version = match arguments.version {
        Asked::V111 => "1.1.1",
        Asked::V130 => "1.3.0",
    };
    let document =
        fetch::url(&request(url, version)).map_err(|error| Failure::new(FAILED, format_args!("ERROR: {error}")))?;
    let capabilities = WmsCapabilities::parse(&fetch::xml_text(&document)).map_err(|error| {
        let line = "-".repeat(80);
        eprintln(format_args!("Received document:\n{line}\n{}\n{line}", excerpt(&document)));
        Failure::new(
            FAILED,
            match error {
                Unreadable::NotXml(reason) => format!("Could not parse the document: {reason}"),
                Unreadable::Other(reason) => format!("Not a capabilities document: {reason}"),
            },
        )
    })?;
    println(format_args!("# Note: This is not a valid MapProxy configuration!"));
    println(format_args!("Capabilities Document Version {}", capabilities.version.as_str()));
    let mut text = String::from("Root-Layer:\n");
    let root = &capabilities.root;
    // A service of a single layer has nothing below it.
    let layers = if root.layers.is_empty() { std::slice::from_ref(root) } else { &root.layers };
    write_layers(&mut text, layers, capabilities.url.as_deref(), 1);
    println(format_args!("{}", text.trim_end_matches('\n')));
    if capabilities.faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(FAILED, capabilities.faults.join("\n")))
}

/// Enough to see what it is.
fn excerpt(document: &[u8]) -> String {
    const MOST: usize = 4000;
    let text = String::from_utf8_lossy(&document[..document.len().min(MOST)]);
    // Nothing that moves the cursor.
    let text: String =
        text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect();
    if document.len() > MOST { format!("{text}\n[… {} bytes in all]", document.len()) } else { text }
}

fn write_layers(text: &mut String, layers: &[Layer], url: Option<&str>, depth: usize) {
    for layer in layers {
        let mut is_first = true;
        let mut line = |key: &str, value: &str| {
            let marker = if std::mem::take(&mut is_first) { "- " } else { "  " };
            text.push_str(&format!("{}{marker}{key}: {value}\n", " ".repeat(depth * 4 - 2)));
        };
        let text_or_none = |value: &Option<String>| value.clone().unwrap_or_default();
        if let Some(name) = &layer.name {
            line("name", name);
        }
        if let Some(title) = &layer.title {
            line("title", title);
        }
        line("url", url.unwrap_or_default());
        let srs: Vec<String> = layer.srs.iter().map(|srs| format!("'{srs}'")).collect();
        line("srs", &format!("[{}]", srs.join(", ")));
        line("llbbox", &layer.bounds.map(|bounds| format!("[{}]", floats(&bounds))).unwrap_or_default());
        line("queryable", if layer.is_queryable { "True" } else { "False" });
        line("opaque", if layer.is_opaque { "True" } else { "False" });
        line("abstract", &text_or_none(&layer.description));
        let hint = layer.resolutions.map(|(coarsest, finest)| format!("({}, {})", float(coarsest), float(finest)));
        line("res_hint", &hint.unwrap_or_default());
        let boxes: Vec<String> = layer
            .boxes
            .iter()
            .map(|found| {
                let numbers = floats(&found.bbox);
                let list = if found.was_swapped { format!("({numbers})") } else { format!("[{numbers}]") };
                format!("'{}': {list}", found.srs)
            })
            .collect();
        line("bbox_srs", &format!("{{{}}}", boxes.join(", ")));
        line("legend", &layer.legend.as_ref().map(|url| format!("{{'url': '{url}'}}")).unwrap_or_default());
        if !layer.layers.is_empty() {
            line("layers", "");
            write_layers(text, &layer.layers, url, depth + 1);
        }
    }
}

fn floats(numbers: &[f64]) -> String {
    numbers.iter().map(|number| float(*number)).collect::<Vec<_>>().join(", ")
}
