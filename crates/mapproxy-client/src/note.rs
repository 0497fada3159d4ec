//! What is told of each exchange with an upstream server: to the trace of the request, and to the log.

use std::time::Instant;

use crate::{ClientError, Peer, RedactedUrl, UpstreamRequest, UpstreamResponse};

/// Notes an exchange begun at `started`. `verb` stands first in the log's line: the method, or what runs there.
pub(crate) fn note(
    request: &UpstreamRequest,
    verb: &'static str,
    started: Instant,
    answer: &Result<UpstreamResponse, ClientError>,
) {
    let status = match answer {
        Ok(response) => Some(response.status),
        Err(error) => error.status(),
    };
    mapproxy_trace::call(|| mapproxy_trace::Call {
        places: Vec::new(),
        method: verb,
        url: RedactedUrl::new(&request.url).as_str().to_owned(),
        status,
        bytes: answer.as_ref().ok().map(|response| response.body.len() as u64),
        duration: started.elapsed(),
    });
    if let Err(error) = answer
        && !(request.peer == Peer::Store && error.status() == Some(404))
    {
        mapproxy_trace::error(error);
    }
    let (target, level) = match request.peer {
        Peer::Source => ("mapproxy.source.request", log::Level::Info),
        Peer::Store => ("mapproxy.cache.request", log::Level::Debug),
    };
    if log::log_enabled!(target: target, level) {
        let status = status.map_or("-".to_owned(), |status| status.to_string());
        let kib = answer.as_ref().map_or("-".to_owned(), |r| format!("{:.1}", r.body.len() as f64 / 1024.0));
        let url = RedactedUrl::new(&request.url).as_str().replace(' ', "");
        let ms = started.elapsed().as_millis();
        log::log!(target: target, level, "{verb} {url} {status} {kib} {ms}");
    }
}
