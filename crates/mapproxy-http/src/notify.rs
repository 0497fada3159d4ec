//! What systemd is told (`Type=notify`, `Type=notify-reload`), if it wants to know: it names a socket in
//! `NOTIFY_SOCKET` then.

/// A turn in the life of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    /// Serving, for the first time or after a reload.
    Ready,
    Reloading,
    Stopping,
}

#[cfg(target_os = "linux")]
pub(crate) fn tell(turn: Turn) {
    use sd_notify::NotifyState;

    let result = match turn {
        Turn::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Turn::Reloading => {
            NotifyState::monotonic_usec_now().and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
        }
        Turn::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    };
    if let Err(error) = result {
        log::warn!(target: "mapproxy.http", "cannot tell systemd that the server is {turn:?}: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn tell(_turn: Turn) {}
