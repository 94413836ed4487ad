//! A process of a slug, as `slugline run` starts it.

use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::agent;

/// A process that is ended with its test.
pub struct Running(Child, String);

impl Running {
    /// Starts `slugline run …` and reads from its remark where it listens.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let url = line
            .trim()
            .split_once(": ")
            .unwrap_or_else(|| panic!("{line}"))
            .1
            .to_owned();
        // Nobody reads the rest, and a full pipe would block the process.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self(child, url)
    }

    /// The first answer, once there is one.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        let start = Instant::now();
        loop {
            if let Ok(mut answer) = agent()
                .get(format!("{}{path}", self.1.trim_end_matches('/')))
                .call()
            {
                return (
                    answer.status().as_u16(),
                    answer.body_mut().read_to_string().unwrap(),
                );
            }
            assert_eq!(self.0.try_wait().unwrap(), None, "it has ended");
            assert!(start.elapsed() < Duration::from_secs(60), "no answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(self.id(), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
