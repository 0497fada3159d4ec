//! `globals` and the HTTP options of sources.

use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;

use super::Resolver;
use crate::Origin;
use crate::checked::{Globals, HttpMethod, HttpOptions, ImageDefaults, Permissions, Resampling};
use crate::findings::Findings;
use crate::position::Spanned;
use crate::raw::{self, Text};

/// What a configuration without `globals` gets, and what this one says.
pub(super) fn resolve(raw: &raw::Globals, base_dir: &Path, findings: &mut Findings) -> Globals {
    let cache = raw.cache.as_ref();
    let http = raw.http.as_ref();
    let join =
        |path: &Option<Spanned<Text>>, default: &str| base_dir.join(path.as_ref().map_or(default, |path| &path.value));
    let image = image_defaults(raw, findings);
    let hours = raw.tiles.as_ref().and_then(|tiles| tiles.expires_hours.as_ref());
    let tile_max_age = match hours {
        None => Duration::from_secs(72 * 3600),
        Some(hours) => Duration::try_from_secs_f64(hours.value * 3600.0).unwrap_or_else(|_| {
            let message = format!("{} is not a number of hours", hours.value);
            findings.error(hours.span, "globals.tiles.expires_hours", message);
            Duration::ZERO
        }),
    };
    let allow_origin = http.and_then(|http| http.access_control_allow_origin.as_ref());
    let access_control_allow_origin = match allow_origin.and_then(|origin| origin.value.0.as_deref()) {
        None => Some("*".to_owned()),
        Some("") => None,
        Some(origin) => Some(origin.to_owned()),
    };
    let renderd = raw.renderd.as_ref().and_then(|renderd| renderd.address.as_ref()).and_then(|address| {
        let path = "globals.renderd.address";
        if address.value.starts_with("http://") || address.value.starts_with("https://") {
            return Some((address.value.to_string(), Origin::new(path, address.span)));
        }
        findings.error(address.span, path, "an address begins with http:// or https://");
        None
    });
    let debug_mode = raw.debug_mode.as_ref().filter(|debug| debug.value);
    let without_effect = [
        ("template_dir", "templates in place of the built-in ones", raw.template_dir.as_ref().map(|dir| dir.span)),
        ("debug_mode", "debug_mode (`serve-develop --debug` shows errors)", debug_mode.map(|debug| debug.span)),
    ];
    for (key, name, span) in without_effect {
        if let Some(span) = span {
            let message = format!("not supported yet: {name}; it is ignored");
            findings.warning(span, format!("globals.{key}"), message);
        }
    }
    let mut globals = Globals {
        image,
        access_control_allow_origin,
        compression: http.and_then(|http| http.compression.as_ref()).is_none_or(|compression| compression.value),
        http: HttpOptions {
            method: HttpMethod::Auto,
            timeout: Duration::from_secs(60),
            headers: Vec::new(),
            insecure: false,
            ca_certs: None,
            hide_error_details: true,
            manage_cookies: false,
        },
        tile_max_age,
        cache_base_dir: join(&cache.and_then(|cache| cache.base_dir.clone()), "./cache_data"),
        lock_dir: join(&cache.and_then(|cache| cache.lock_dir.clone()), "./cache_data/tile_locks"),
        permissions: Permissions {
            directories: permission(
                cache.and_then(|cache| cache.directory_permissions.as_ref()),
                "globals.cache.directory_permissions",
                findings,
            ),
            files: permission(
                cache.and_then(|cache| cache.file_permissions.as_ref()),
                "globals.cache.file_permissions",
                findings,
            ),
        },
        renderd,
        preferred_src_proj: preferred(raw),
        proj_data_dir: raw
            .srs
            .as_ref()
            .and_then(|srs| srs.proj_data_dir.as_ref())
            .map(|dir| base_dir.join(&*dir.value)),
        public_url: raw
            .public_url
            .as_ref()
            .map(|url| (url.value.to_string(), Origin::new("globals.public_url", url.span))),
        trusted_proxies: raw.trusted_proxies.as_ref().map(|proxies| {
            let names = proxies.value.iter().map(|proxy| proxy.value.to_string()).collect();
            (names, Origin::new("globals.trusted_proxies", proxies.span))
        }),
        // Once the layers are known.
        auth: None,
    };
    globals.http = http_over(&globals.http, http.map(|http| &http.value), base_dir, "globals.http", findings);
    globals
}

fn image_defaults(raw: &raw::Globals, findings: &mut Findings) -> ImageDefaults {
    let image = raw.image.as_ref();
    let resampling = image
        .and_then(|image| image.resampling_method.as_ref())
        .and_then(|method| super::image::resampling(method, "globals.image.resampling_method", findings))
        .unwrap_or_default();
    let jpeg_quality = match image.and_then(|image| image.jpeg_quality.as_ref()) {
        None => 90,
        Some(quality) if (0.0..=100.0).contains(&quality.value) => quality.value as u8,
        Some(quality) => {
            let message = format!("{} is not a quality from 0 to 100", quality.value);
            findings.error(quality.span, "globals.image.jpeg_quality", message);
            90
        }
    };
    let mut defaults = ImageDefaults {
        resampling: Resampling::default(),
        jpeg_quality,
        paletted: image.and_then(|image| image.paletted.as_ref()).is_none_or(|paletted| paletted.value),
        font_dir: image.and_then(|image| image.font_dir.as_ref()).map(|dir| dir.value.as_ref().into()),
        formats: IndexMap::new(),
    };
    defaults.resampling = resampling;
    for (name, entry) in image.and_then(|image| image.formats.as_ref()).iter().flat_map(|formats| formats.value.iter())
    {
        let path = format!("globals.image.formats.{name}");
        let options = super::image::over(defaults.start(Some(name)), &entry.value, &path, findings);
        if options.format.is_none() {
            let message = format!("'{name}' does not say which format it is");
            let help = Some("add `format: image/png` or another media type".to_owned());
            findings.add(crate::diagnostic::Severity::Warning, entry.value.span, path, message, help);
        }
        defaults.formats.insert(name.to_string(), options);
    }
    defaults
}

fn preferred(raw: &raw::Globals) -> IndexMap<String, Vec<String>> {
    let table = raw.srs.as_ref().and_then(|srs| srs.preferred_src_proj.as_ref());
    table
        .iter()
        .flat_map(|table| table.value.iter())
        .map(|(target, sources)| {
            (target.to_string(), sources.value.value.iter().map(|source| source.value.to_string()).collect())
        })
        .collect()
}

/// Permissions written as octal digits.
pub(super) fn permission(text: Option<&Spanned<Text>>, path: &str, findings: &mut Findings) -> Option<u32> {
    let text = text?;
    let digits = text.value.strip_prefix("0o").unwrap_or(&text.value);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o7777 => Some(mode),
        _ => {
            let message = format!("'{}' are not permissions: octal digits as in '755' are needed", text.value);
            findings.error(text.span, path, message);
            None
        }
    }
}

impl Resolver<'_> {
    /// The HTTP options of a source.
    pub(super) fn http(&mut self, raw: Option<&Spanned<raw::Http>>, path: &str) -> HttpOptions {
        http_over(&self.globals.http, raw.map(|http| &http.value), self.base_dir, path, self.findings)
    }

    /// How many requests a source may have under way at once.
    pub(super) fn concurrent_requests(
        &mut self,
        own: Option<&Spanned<i64>>,
        http: Option<&Spanned<raw::Http>>,
        path: &str,
    ) -> Option<u32> {
        let global = self.raw_globals.http.as_ref().and_then(|http| http.concurrent_requests.as_ref());
        let (number, path) = match (own, http.and_then(|http| http.concurrent_requests.as_ref()), global) {
            (Some(number), _, _) => (number, format!("{path}.concurrent_requests")),
            (None, Some(number), _) => (number, format!("{path}.http.concurrent_requests")),
            (None, None, Some(number)) => (number, "globals.http.concurrent_requests".to_owned()),
            (None, None, None) => return None,
        };
        self.int(number, 0, &path).filter(|number| *number > 0)
    }
}

fn http_over(
    below: &HttpOptions,
    raw: Option<&raw::Http>,
    base_dir: &Path,
    path: &str,
    findings: &mut Findings,
) -> HttpOptions {
    let mut options = below.clone();
    let Some(raw) = raw else {
        return options;
    };
    if let Some(method) = &raw.method {
        options.method = match &*method.value.to_ascii_uppercase() {
            "AUTO" => HttpMethod::Auto,
            "GET" => HttpMethod::Get,
            "POST" => HttpMethod::Post,
            _ => {
                let message = format!("unknown method '{}': one of AUTO, GET, POST is needed", method.value);
                findings.error(method.span, format!("{path}.method"), message);
                HttpMethod::Auto
            }
        };
    }
    if let Some(timeout) = &raw.client_timeout {
        match Duration::try_from_secs_f64(timeout.value) {
            Ok(value) if !value.is_zero() => options.timeout = value,
            _ => {
                let message = format!("{} is not a number of seconds above 0", timeout.value);
                findings.error(timeout.span, format!("{path}.client_timeout"), message);
            }
        }
    }
    if let Some(headers) = &raw.headers {
        options.headers =
            headers.value.iter().map(|(name, value)| (name.to_string(), value.value.value.to_string())).collect();
    }
    if let Some(insecure) = &raw.ssl_no_cert_checks {
        options.insecure = insecure.value;
    }
    if let Some(ca_certs) = &raw.ssl_ca_certs {
        options.ca_certs = Some(base_dir.join(&*ca_certs.value));
    }
    if let Some(hide) = &raw.hide_error_details {
        options.hide_error_details = hide.value;
    }
    if let Some(cookies) = &raw.manage_cookies {
        options.manage_cookies = cookies.value;
    }
    options
}
