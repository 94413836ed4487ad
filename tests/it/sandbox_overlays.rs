//! Kept trees under a writable layer: what commands see of them, and what is left when nothing runs.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;

use slugline::sandbox::{Lower, Profile, Root, Sandbox, Spec, Watch};

use crate::site::{SLUGLINE, eventually};

fn run(sandbox: &Sandbox, root: &Root, profile: Profile, script: &str) -> String {
    let spec = Spec {
        argv: ["/bin/bash", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cwd: "/app".to_owned(),
        profile,
    };
    let mut said = Vec::new();
    let watch = Watch::default();
    sandbox.run(root, &spec, &watch, &mut said).unwrap();
    String::from_utf8(said).unwrap()
}

#[test]
fn a_kept_tree_is_changed_in_the_build_alone() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let tree = kept.join("tree");
    for name in ["same", "changed", "removed", "replaced", "emptied"] {
        fs::create_dir_all(tree.join(name)).unwrap();
        fs::write(tree.join(name).join("file"), "kept\n").unwrap();
    }
    symlink("same/file", tree.join("link")).unwrap();
    let sandbox = Sandbox::new(SLUGLINE);
    let mut root = sandbox.root(&dir.path().join("root")).unwrap();
    root.show_tools(&kept, &[]).unwrap();
    fs::create_dir_all(root.app().join("web/deps")).unwrap();
    fs::write(root.app().join("full"), "").unwrap();
    symlink("/etc", root.app().join("etc")).unwrap();
    root.hand_over().unwrap();
    let lay = |at: &str| {
        let shown = Path::new("/run/slugline/tree");
        let overlays = root.overlays();
        let lower = Lower {
            tree: &tree,
            files: 6,
            adopt: true,
        };
        overlays.lay(lower, shown, Path::new(at), &root.app())
    };
    // While nothing runs there is nobody to lay it.
    assert!(!lay("/app/web/deps").unwrap());
    let script = "until test -e web/deps/link; do sleep 0.05; done; cd web/deps; cat link\n\
        echo more >>changed/file; rm -r removed; rm -r replaced; echo file >replaced\n\
        rm -r emptied; mkdir emptied; echo new >emptied/new; mkdir closed; chmod 0 closed\n\
        echo evil >/run/slugline/tree/same/file; ls /mnt/work; touch /mnt/work/x\n\
        cd /app; mv web moved; ls moved/deps";
    let said = thread::scope(|scope| {
        let running = scope.spawn(|| run(&sandbox, &root, Profile::Build, script));
        // Not where the platform's own is, and not over what is there.
        for at in [
            "/app",
            "/cache",
            "/env",
            "/app/full",
            "/app/etc",
            "/app/none",
            "/app/../mnt",
        ] {
            assert!(!lay(at).unwrap(), "{at}");
        }
        eventually("it is laid", || lay("/app/web/deps").unwrap());
        running.join().unwrap()
    });
    assert!(said.starts_with("kept\n"), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(
        said.ends_with("changed\nclosed\nemptied\nlink\nreplaced\nsame\n"),
        "{said}"
    );
    assert!(said.contains("cannot touch '/mnt/work/x'"), "{said}");
    // Outside there is what was written, and the next commands see the whole.
    let deps = root.app().join("moved/deps");
    assert!(!deps.join("same").exists());
    let look =
        "cd moved/deps; cat same/file changed/file replaced emptied/*; ls -d removed; touch x";
    let said = run(&sandbox, &root, Profile::Build, look);
    let seen = "kept\nkept\nmore\nfile\nnew\nls: cannot access 'removed'";
    assert!(said.starts_with(seen) && !said.contains("touch"), "{said}");
    let read_only = root.with_read_only(&root.app());
    let said = run(&sandbox, &read_only, Profile::Inspect, look);
    assert!(said.starts_with(seen), "{said}");
    assert!(said.contains("cannot touch 'x': Read-only"), "{said}");

    let stop = AtomicBool::new(false);
    root.overlays().settle(&root.app(), &stop).unwrap();
    let read = |name: &str| fs::read_to_string(deps.join(name)).unwrap();
    assert_eq!(read("same/file"), "kept\n");
    assert_eq!(read("link"), "kept\n");
    assert_eq!(read("changed/file"), "kept\nmore\n");
    assert_eq!(read("replaced"), "file\n");
    let names = |dir: &Path| {
        let names = fs::read_dir(dir).unwrap().flatten();
        let mut names = names
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect::<Vec<_>>();
        names.sort();
        names
    };
    let all = [
        "changed", "closed", "emptied", "link", "replaced", "same", "x",
    ];
    assert_eq!(names(&deps), all);
    assert_eq!(names(&deps.join("emptied")), ["new"]);
    // Nothing of the kept tree has changed, and what is the same is there once.
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(
        inode(&deps.join("same/file")),
        inode(&tree.join("same/file"))
    );
    for name in ["same", "changed", "removed", "replaced", "emptied"] {
        assert_eq!(names(&tree.join(name)), ["file"]);
        let text = fs::read_to_string(tree.join(name).join("file")).unwrap();
        assert_eq!(text, "kept\n", "{name}");
    }
    slugline::sandbox::remove_tree(dir.path()).unwrap();
}
