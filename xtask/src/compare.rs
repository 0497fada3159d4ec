//! `cargo xtask compare-with-mapproxy`: asks MapProxy 7.0.0 and this program the same questions and reports differences.
//!
//! Both serve the same configuration from copies of it, so neither sees the other's cache. Pictures are compared by
//! size, colour type and pixels (PSNR and the largest difference of a channel), everything else as text.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::http::Connection;
use crate::server::Server;
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Command of MapProxy 7.0.0's mapproxy-util
    #[arg(long, value_name = "CMD")]
    reference: String,
    /// Command of the mapproxy-util to compare, instead of the one built here
    #[arg(long, value_name = "CMD")]
    server: Option<String>,
    /// The mapproxy.yaml both serve; its folder is copied, so what it names should lie beside it
    config: PathBuf,
    /// Paths with queries, one a line; lines that begin with # are left out
    questions: PathBuf,
    /// Report pictures below this PSNR (dB)
    #[arg(long, default_value_t = 40.0)]
    psnr: f64,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Headers that say what the answer is; the others belong to the server that carries it.
const HEADERS: &[&str] = &[
    "content-type",
    "content-length",
    "cache-control",
    "vary",
    "pragma",
    "expires",
    "location",
    "access-control-allow-origin",
    "etag",
    "last-modified",
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let questions = fs::read_to_string(&arguments.questions)
        .with_context(|| format!("cannot read {}", arguments.questions.display()))?;
    let ours = match &arguments.server {
        Some(command) => command.clone(),
        None => workspace::build_program()?.display().to_string(),
    };
    let folder = workspace::target_directory()?.join("compare");
    let servers = [("reference", &arguments.reference), ("ours", &ours)].map(|(name, command)| {
        let copy = folder.join(name);
        let config = copy_of(&arguments.config, &copy)?;
        Server::start(command, "serve-develop", &config)
    });
    let [reference, ours] = servers;
    let (reference, ours) = (reference?, ours?);

    let (mut asked, mut different) = (0, 0);
    for question in questions.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let expected = ask(reference.port, question)?;
        let found = ask(ours.port, question)?;
        let differences = differences(&expected, &found, arguments.psnr);
        asked += 1;
        if !differences.is_empty() {
            different += 1;
            println!("{question}");
            differences.iter().for_each(|difference| println!("    {difference}"));
        }
    }
    ensure!(asked > 0, "{} asks nothing", arguments.questions.display());
    println!("{asked} questions, {different} answered differently");
    Ok(())
}

/// Copies the files beside the configuration (no folders: a cache is not wanted) and returns the copy's path.
fn copy_of(config: &std::path::Path, target: &std::path::Path) -> Result<PathBuf> {
    let source = config.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    if target.exists() {
        fs::remove_dir_all(target).with_context(|| format!("cannot empty {}", target.display()))?;
    }
    fs::create_dir_all(target).with_context(|| format!("cannot create {}", target.display()))?;
    for entry in fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), target.join(entry.file_name()))?;
        }
    }
    Ok(target.join(config.file_name().context("the configuration has no file name")?))
}

fn ask(port: u16, question: &str) -> Result<Answer> {
    let mut connection = Connection::open(port)?;
    connection
        .ask(&format!("GET {question} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"))
        .with_context(|| format!("no answer to {question}"))?;
    let local = format!("127.0.0.1:{port}");
    let header = |&name: &&str| Some((name.to_owned(), connection.header(name)?.replace(&local, "HOST")));
    let headers = HEADERS.iter().filter_map(header).collect();
    let body = match std::str::from_utf8(connection.body()) {
        Ok(text) => text.replace(&local, "HOST").into_bytes(),
        Err(_) => connection.body().to_vec(),
    };
    Ok(Answer { status: connection.status(), headers, body })
}

fn differences(expected: &Answer, found: &Answer, least_psnr: f64) -> Vec<String> {
    let mut differences = Vec::new();
    if expected.status != found.status {
        differences.push(format!("status {} instead of {}", found.status, expected.status));
    }
    let picture = |answer: &Answer| {
        let picture = answer.headers.iter().any(|(name, value)| name == "content-type" && value.starts_with("image/"));
        if picture { image::load_from_memory(&answer.body).ok() } else { None }
    };
    let pictures = (picture(expected), picture(found));
    for &name in HEADERS {
        let value =
            |answer: &Answer| answer.headers.iter().find(|header| header.0 == name).map(|header| header.1.clone());
        let (expected, found) = (value(expected), value(found));
        // Values of validators and lengths of pictures depend on the moment and the encoder; their presence does not.
        let differs = match name {
            "etag" | "last-modified" => expected.is_some() != found.is_some(),
            "content-length" => expected.is_some() != found.is_some() || (pictures.0.is_none() && expected != found),
            _ => expected != found,
        };
        if differs {
            let shown = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            differences.push(format!("{name}: {} instead of {}", shown(found), shown(expected)));
        }
    }
    match pictures {
        (Some(expected), Some(found)) => differences.extend(picture_difference(&expected, &found, least_psnr)),
        _ if expected.body != found.body => differences.push(text_difference(&expected.body, &found.body)),
        _ => {}
    }
    differences
}

fn picture_difference(expected: &image::DynamicImage, found: &image::DynamicImage, least_psnr: f64) -> Option<String> {
    let size = |picture: &image::DynamicImage| (picture.width(), picture.height());
    if size(expected) != size(found) {
        return Some(format!("size {:?} instead of {:?}", size(found), size(expected)));
    }
    if expected.color() != found.color() {
        return Some(format!("colour type {:?} instead of {:?}", found.color(), expected.color()));
    }
    let (expected, found) = (expected.to_rgba8(), found.to_rgba8());
    let (mut squares, mut largest, mut count) = (0.0, 0, 0.0);
    for (one, other) in expected.iter().zip(found.iter()) {
        let difference = one.abs_diff(*other);
        squares += f64::from(difference).powi(2);
        largest = largest.max(difference);
        count += 1.0;
    }
    let psnr = if squares == 0.0 { f64::INFINITY } else { 10.0 * (255.0 * 255.0 * count / squares).log10() };
    (psnr < least_psnr).then(|| format!("pixels: PSNR {psnr:.1} dB, largest difference {largest}"))
}

/// The first lines that differ.
fn text_difference(expected: &[u8], found: &[u8]) -> String {
    let (expected, found) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(found));
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let (expected, found) = (lines(&expected), lines(&found));
    let same = expected.iter().zip(&found).take_while(|(one, other)| one == other).count();
    let line = |lines: &[String]| lines.get(same).map_or("the end".to_owned(), |line| format!("{line:.160}"));
    if expected == found {
        return "body: differs in white space only".to_owned();
    }
    format!("body, line {}:\n        {}\n        instead of\n        {}", same + 1, line(&found), line(&expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, content_type: &str, body: &[u8]) -> Answer {
        Answer { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body: body.to_vec() }
    }

    #[test]
    fn equal_answers_have_no_difference() {
        assert!(differences(&answer(200, "text/xml", b"a"), &answer(200, "text/xml", b"a"), 40.0).is_empty());
    }

    #[test]
    fn status_headers_and_the_first_line_are_named() {
        let found = differences(&answer(200, "text/xml", b"a\nb"), &answer(500, "text/html", b"a\nc"), 40.0);
        assert_eq!(found[..2], ["status 500 instead of 200", "content-type: text/html instead of text/xml"]);
        assert!(found[2].starts_with("body, line 2:"), "{found:?}");
    }

    #[test]
    fn pictures_are_compared_by_their_pixels() {
        let encoded = |value: u8| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            let picture = image::RgbImage::from_pixel(4, 4, image::Rgb([value; 3]));
            picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            answer(200, "image/png", &bytes.into_inner())
        };
        assert!(differences(&encoded(100), &encoded(101), 40.0).is_empty());
        assert_eq!(differences(&encoded(0), &encoded(255), 40.0), ["pixels: PSNR 1.2 dB, largest difference 255"]);
    }
}
