//! A `mapproxy-util serve…` process on a free port, ended when dropped.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts `command mode -b 127.0.0.1:PORT config`, with its messages to `log`, and returns when it listens.
    pub(crate) fn start(command: &str, mode: &str, config: &Path, log: Stdio) -> Result<Server> {
        let mut words = command.split_whitespace();
        let program = words.next().context("an empty server command")?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let process = Command::new(program)
            .args(words)
            .args([mode, "-b", &format!("127.0.0.1:{port}")])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command}"))?;
        let mut server = Server { process, port };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.process.try_wait()? {
                bail!("{command} ended with {status} before it listened");
            }
            ensure!(Instant::now() < deadline, "{command} does not listen after 30 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM first, so that development servers can end their children, which std cannot send.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
