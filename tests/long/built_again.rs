//! What the long tests ask of a fixture app besides: that its slug is the same again, and what is in it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::fixture_app::FixtureApp;
use crate::site::Ran;

impl FixtureApp {
    /// Builds it once more with what the first build has kept and no network, again with changed
    /// code, and its twin with nothing kept at all.
    #[track_caller]
    pub fn assert_same_again(&self, twin: &Self) {
        let first = self.digest();
        let again = self.build_offline();
        assert_eq!(self.digest(), first, "a second build: {}", again.stderr);
        fs::write(self.site.path("app/changed.txt"), "1").unwrap();
        self.build_offline();
        assert_ne!(self.digest(), first, "changed code");
        twin.build(&[]).success();
        assert_eq!(twin.digest(), first, "a build from nothing");
    }

    /// Unpacks the slug and gives the app's directory of it.
    pub fn unpacked(&self) -> PathBuf {
        let dir = self.site.path("unpacked");
        fs::create_dir(&dir).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(self.site.path("slug.tgz"));
        Ran::new(tar.current_dir(&dir).output().unwrap()).success();
        dir.join("app")
    }
}

/// A test for each fixture: as `fixtures!`, and what is built again is the same slug.
#[macro_export]
macro_rules! rebuilt_fixtures {
    ($make:ident: $($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                let app = $crate::fixture_app::FixtureApp::$make(stringify!($name));
                insta::assert_snapshot!(stringify!($name), app.account(&[]));
                let twin = $crate::fixture_app::FixtureApp::$make(stringify!($name));
                app.assert_same_again(&twin);
                $crate::runs_elsewhere(&app);
            }
        )+
    };
}
