//! Signed pushes: what `git push --signed` says beside its commands, and whose signature it bears.
//!
//! Source: gitprotocol-pack(5), "Push Certificate"; ssh-keygen(1), `-Y verify`; gpg(1).

use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gix_packetline::blocking_io::StreamingPeekableIter;

use super::request::{read_error, shown};
use super::{Error, Limits, io_error};

/// What every signature begins with, and those that can be verified.
const BEGIN: &str = "-----BEGIN ";
const BEGIN_SSH: &str = "-----BEGIN SSH SIGNATURE-----";
const BEGIN_PGP: &str = "-----BEGIN PGP SIGNATURE-----";

/// Bytes of a certificate beside its commands: people, options, the signature.
const EXTRA_BYTES: usize = 64 << 10;

/// A push in the words that its pusher has signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// All of it, as git sent it.
    pub text: String,
    /// Where the signature begins in the text.
    signature: usize,
    /// What the server has advertised to the pusher.
    pub nonce: String,
    /// The options that the push names besides.
    pub(super) options: Vec<String>,
    /// The commands' lines.
    pub(super) commands: Vec<String>,
}

impl Certificate {
    /// Reads the lines up to `push-cert-end`.
    ///
    /// # Errors
    /// The caller's fault: no certificate, or over the limits.
    pub(super) fn read<R: Read>(
        lines: &mut StreamingPeekableIter<R>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let limit = EXTRA_BYTES + limits.commands * (limits.ref_name_bytes + 160);
        let malformed = |line: &[u8]| Error::Malformed { line: shown(line) };
        let mut certificate = Self::default();
        let (mut in_header, mut ended) = (true, false);
        while let Some(line) = lines.read_line() {
            let line = line
                .map_err(read_error)?
                .map_err(|source| Error::PacketLine { source })?;
            let bytes = line.as_slice().ok_or_else(|| malformed(b""))?;
            if bytes.strip_suffix(b"\n").unwrap_or(bytes) == b"push-cert-end" {
                ended = true;
                break;
            }
            let text = std::str::from_utf8(bytes).map_err(|_| malformed(bytes))?;
            if certificate.text.len() + text.len() > limit {
                return Err(Error::Certificate {
                    reason: format!("it has more than {limit} bytes"),
                });
            }
            certificate.take(text, &mut in_header);
            certificate.text.push_str(text);
        }
        if !ended || !certificate.text.starts_with("certificate version 0.1\n") {
            return Err(malformed(b"push-cert"));
        }
        if certificate.signature == 0 {
            return Err(Error::Certificate {
                reason: "it is not signed".to_owned(),
            });
        }
        Ok(certificate)
    }

    fn take(&mut self, text: &str, in_header: &mut bool) {
        let line = text.trim_end_matches('\n');
        if self.signature > 0 {
            return;
        }
        if line.starts_with(BEGIN) {
            self.signature = self.text.len();
        } else if !*in_header {
            self.commands.push(line.to_owned());
        } else if line.is_empty() {
            *in_header = false;
        } else if let Some(nonce) = line.strip_prefix("nonce ") {
            nonce.clone_into(&mut self.nonce);
        } else if let Some(option) = line.strip_prefix("push-option ") {
            self.options.push(option.to_owned());
        }
    }

    /// What was signed, and the signature.
    fn parts(&self) -> (&str, &str) {
        self.text.split_at(self.signature)
    }
}

/// Whose signatures are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signers {
    /// A file of ssh-keygen(1)'s "ALLOWED SIGNERS".
    pub allowed: Option<PathBuf>,
    /// A home directory of GnuPG, whose keyring holds the signers' keys.
    pub gpg_home: Option<PathBuf>,
}

impl Signers {
    /// Finds whose signature it is; `None` where no signers of its kind are named.
    ///
    /// `scratch` is a directory for files that are removed again.
    ///
    /// # Errors
    /// The pusher's fault: the signature is nobody's who is named, or not of this text. The
    /// machine's: the programs that verify are missing.
    pub fn verify(
        &self,
        certificate: &Certificate,
        scratch: &Path,
    ) -> Result<Option<String>, Error> {
        let (payload, signature) = certificate.parts();
        if self.allowed.is_none() && self.gpg_home.is_none() {
            return Ok(None);
        }
        let dir =
            tempfile::tempdir_in(scratch).map_err(io_error("making a directory in", scratch))?;
        let path = dir.path().join("signature");
        fs::write(&path, signature).map_err(io_error("writing", &path))?;
        let signer = match (&self.allowed, &self.gpg_home) {
            (Some(allowed), _) if signature.starts_with(BEGIN_SSH) => {
                verify_ssh(allowed, &path, payload)?
            }
            (_, Some(home)) if signature.starts_with(BEGIN_PGP) => {
                verify_pgp(home, &path, payload)?
            }
            _ => None,
        };
        signer.map(Some).ok_or_else(|| Error::Certificate {
            reason: "its signature is of none of the server's signers, or of another text"
                .to_owned(),
        })
    }
}

fn verify_ssh(allowed: &Path, signature: &Path, payload: &str) -> Result<Option<String>, Error> {
    let keygen = |what: &str| {
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", what, "-f"]).arg(allowed);
        command.arg("-s").arg(signature);
        command
    };
    let (found, principals) = run(keygen("find-principals"), "")?;
    if !found {
        return Ok(None);
    }
    for principal in principals.lines() {
        let mut command = keygen("verify");
        command.args(["-n", "git", "-I", principal]);
        if run(command, payload)?.0 {
            return Ok(Some(principal.to_owned()));
        }
    }
    Ok(None)
}

fn verify_pgp(home: &Path, signature: &Path, payload: &str) -> Result<Option<String>, Error> {
    let mut command = Command::new("gpg");
    command
        .arg("--homedir")
        .arg(home)
        .args(["--batch", "--no-tty", "--status-fd=1", "--verify"])
        .arg(signature)
        .arg("-");
    let (good, status) = run(command, payload)?;
    let signer = status
        .lines()
        .find_map(|line| line.strip_prefix("[GNUPG:] GOODSIG "));
    // The id of the key, and who it is.
    let name = signer.and_then(|line| line.split_once(' '));
    Ok(name.filter(|_| good).map(|(_, name)| name.to_owned()))
}

/// Runs a program that reads `input`; gives whether it succeeded and what it printed.
fn run(mut command: Command, input: &str) -> Result<(bool, String), Error> {
    let program = PathBuf::from(command.get_program());
    let failed = || io_error("running", &program);
    let mut child = command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed())?;
    if let Some(mut stdin) = child.stdin.take() {
        // It prints next to nothing before it has read all; one that ends early has its reason.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed())?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.success(), printed))
}
