//! Tries what a machine gives, before any work depends on it.

use std::fs;
use std::io;
use std::path::Path;

use super::network::direct;
use super::{
    Ended, Error, Exit, Layering, Level, Network, Profile, Sandbox, Spec, Watch, helper,
    remove_tree,
};

impl Sandbox {
    /// As [`Sandbox::probe`], for who wants to build or run what was built.
    ///
    /// # Errors
    /// [`Error::Refused`] also where an app can be looked at and no more.
    pub fn probe_for_builds(&self, scratch: &Path) -> Result<(), Error> {
        self.probe(scratch)?;
        self.found()?.require_namespaces()?;
        self.require_network()
    }

    /// Whether commands can be connected as the policy says.
    ///
    /// # Errors
    /// [`Error::Direct`]: not on this machine, or not as its operator has it.
    pub fn require_network(&self) -> Result<(), Error> {
        if self.network()? != Network::Direct {
            return Ok(());
        }
        let lacks = if self.level()? != Level::Root {
            Some("it takes root".to_owned())
        } else if self.policy.rules.only.is_empty() {
            direct::missing()
        } else {
            Some("`network_only` takes the proxy".to_owned())
        };
        direct::sweep();
        lacks.map_or(Ok(()), |reason| Err(Error::Direct { reason }))
    }

    /// Runs `true` in a sandbox made in `scratch`, to know before any work whether there is one.
    ///
    /// # Errors
    /// [`Error::Refused`] where the machine does not allow it; the platform's fault.
    pub fn probe(&self, scratch: &Path) -> Result<(), Error> {
        let dir = tempfile::Builder::new()
            .prefix("probe-")
            .tempdir_in(scratch)
            .map_err(Error::io(scratch))?;
        if let Some(tree) = self.tree() {
            tree.sweep();
        }
        let root = self.root(&dir.path().join("root"))?;
        root.hand_over()?;
        let spec = Spec {
            argv: vec!["/bin/sh".into(), "-c".into(), "exit 0".into()],
            env: Vec::new(),
            cwd: "/".into(),
            profile: Profile::Inspect,
        };
        let ended = self.run(&root, &spec, &Watch::default(), &mut io::sink())?;
        match ended {
            Ended::Exited(Exit::Code(0)) => Ok(()),
            other => Err(Error::Refused {
                step: "run a shell".into(),
                reason: format!("it ended with {other:?}"),
            }),
        }
    }

    /// Tries in `scratch` how roots can get a writable `/app` here.
    ///
    /// # Errors
    /// As [`Sandbox::probe`].
    pub fn layering(&self, scratch: &Path) -> Result<Layering, Error> {
        let dir = tempfile::Builder::new()
            .prefix("probe-")
            .tempdir_in(scratch)
            .map_err(Error::io(scratch))?;
        let path = dir.path().join("base");
        fs::create_dir(&path).map_err(Error::io(&path))?;
        let base = self.base(&path)?;
        let root = self.root_over(&dir.path().join("root"), &base, Layering::Overlay, None)?;
        let spec = Spec {
            argv: vec!["/bin/sh".into(), "-c".into(), "echo > file".into()],
            env: Vec::new(),
            cwd: "/app".into(),
            profile: Profile::Inspect,
        };
        let ended = self.run(&root, &spec, &Watch::default(), &mut io::sink());
        // The kernel leaves a directory that its owner may not enter.
        remove_tree(dir.path()).map_err(Error::io(dir.path()))?;
        match ended {
            Ok(Ended::Exited(Exit::Code(0))) => Ok(Layering::Overlay),
            Ok(_) => Ok(Layering::Copy),
            Err(Error::Refused { step, .. }) if step == helper::LAY_OVER => Ok(Layering::Copy),
            Err(error) => Err(error),
        }
    }
}
