//! Objects that are missing, malformed or not what they are named as.

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_missing_is_missed() {
    let case = Case::new();
    let first = case.head();
    let tree = git_line(&case.source, &["rev-parse", "HEAD^{tree}"], b"");
    let blob = git_line(&case.source, &["rev-parse", "HEAD:file"], b"");
    let commands = [command("main", None, Some(&first))];
    for part in [&[&*first][..], &[&*first, &*tree], &[&*first, &*blob]] {
        let error = case.refused(&commands, &case.pack_of(part));
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
    let error = case.refused(&commands, &case.pack_of(&[&blob]));
    assert!(matches!(error, Error::TipMissing { .. }), "{error:?}");
    let second = commit_file(&case.source, "next", "2\n");
    let pack = case.pack(&[&second, &format!("^{first}")]);
    let commands = [command("main", None, Some(&second))];
    let error = case.refused(&commands, &pack);
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");

    let mut request = request(&commands);
    request.shallow = vec![id(&second)];
    let stop = AtomicBool::new(false);
    let result = Quarantine::receive(
        &case.repo,
        &mut &pack[..],
        &request,
        &case.limits,
        &stop,
        Faults::default(),
    );
    // Only a parent may be missing; files that the commit itself has may not.
    assert!(matches!(result, Err(Error::Missing { .. })), "{result:?}");
}

#[test]
fn a_shallow_clone_can_push_what_builds_on_the_repository() {
    let case = Case::new();
    let first = case.push_main();
    let second = commit_file(&case.source, "next", "2\n");
    let commands = [command("main", Some(&first), Some(&second))];
    let mut request = request(&commands);
    request.shallow = vec![id(&first)];
    let pack = case.pack(&[&second, &format!("^{first}")]);
    let stop = AtomicBool::new(false);
    Quarantine::receive(
        &case.repo,
        &mut &pack[..],
        &request,
        &case.limits,
        &stop,
        Faults::default(),
    )
    .unwrap();
}

#[test]
fn tips_are_of_the_right_kind() {
    let case = Case::new();
    let blob = git_line(&case.source, &["rev-parse", "HEAD:file"], b"");
    let refused = |new: &str, pack: &[u8]| {
        let request = request(&[
            command("main", None, Some(new)),
            command("refs/tags/x", None, Some(new)),
        ]);
        let quarantine = case.receive(&request.commands, pack).unwrap();
        for atomic in [false, true] {
            let request = Request {
                atomic,
                ..request.clone()
            };
            let mut statuses = vec![Ok(()), Ok(())];
            quarantine.check_kinds(&request, &mut statuses);
            let reason = statuses[0].clone().unwrap_err();
            assert!(reason.ends_with("a branch names a commit"), "{reason}");
            assert_eq!(statuses[1].is_err(), atomic);
        }
    };
    refused(&blob, &case.pack_of(&[&blob]));
    case.push(
        &[command("refs/tags/b", None, Some(&blob))],
        &case.pack_of(&[&blob]),
    );
    git(&case.source, &["tag", "-a", "-m", "one", "v1"]);
    let tag = git_line(&case.source, &["rev-parse", "v1"], b"");
    let pack = case.pack(&[&tag]);
    refused(&tag, &pack);
    case.push(&[command("refs/tags/v1", None, Some(&tag))], &pack);
}

#[test]
fn hostile_trees_are_refused() {
    let case = Case::new();
    let blob = case.object("blob", b"x");
    let empty = case.object("tree", b"");
    for lines in [
        tree_line("100644", "../x", &blob),
        tree_line("40000", ".git", &empty),
        tree_line("40000", "..", &empty),
        [
            tree_line("120000", "a", &blob),
            tree_line("40000", "a", &empty),
        ]
        .concat(),
        [
            tree_line("100644", "b", &blob),
            tree_line("100644", "a", &blob),
        ]
        .concat(),
        tree_line("1006008", "a", &blob),
        tree_line("100644", "a", &blob)[..20].to_vec(),
    ] {
        let tree = case.object("tree", &lines);
        let commit = case.commit_of(&tree);
        let pack = case.pack_of(&[&commit, &tree, &blob, &empty]);
        let error = case.refused(&[command("main", None, Some(&commit))], &pack);
        assert!(matches!(error, Error::Object { .. }), "{error:?}");
    }
}

#[test]
fn objects_are_what_they_are_named_as() {
    let case = Case::new();
    let blob = case.object("blob", b"x");
    let empty = case.object("tree", b"");
    for stored in [false, true] {
        if stored {
            // The same again, with the named objects in the repository.
            let good = case.object("tree", &tree_line("100644", "a", &blob));
            let commit = case.commit_of(&good);
            let pack = case.pack_of(&[&commit, &good, &blob]);
            case.push(&[command("main", None, Some(&commit))], &pack);
        }
        for tree in [
            case.object("tree", &tree_line("40000", "a", &blob)),
            case.object("tree", &tree_line("100644", "a", &empty)),
            blob.clone(),
        ] {
            let commit = case.commit_of(&tree);
            let mut ids = vec![&*commit, &*empty];
            if tree != blob {
                ids.push(&tree);
            }
            if !stored {
                ids.push(&blob);
            }
            let error = case.refused(&[command("x", None, Some(&commit))], &case.pack_of(&ids));
            assert!(matches!(error, Error::WrongKind { .. }), "{error:?}");
        }
    }
}

#[test]
fn malformed_commits_and_tags_are_refused() {
    let case = Case::new();
    let tree = git_line(&case.source, &["rev-parse", "HEAD^{tree}"], b"");
    let blob = git_line(&case.source, &["rev-parse", "HEAD:file"], b"");
    let commit = case.object("commit", format!("tree {tree}\n\nx\n").as_bytes());
    let pack = case.pack_of(&[&commit, &tree, &blob]);
    let error = case.refused(&[command("main", None, Some(&commit))], &pack);
    assert!(matches!(error, Error::Object { .. }), "{error:?}");
    let tag = case.object("tag", b"object x\n");
    let commands = [command("refs/tags/t", None, Some(&tag))];
    let error = case.refused(&commands, &case.pack_of(&[&tag]));
    assert!(matches!(error, Error::Object { .. }), "{error:?}");
}

#[test]
fn an_empty_commit_on_the_empty_tree_arrives() {
    let case = Case::new();
    git(&case.source, &["rm", "-q", "-r", "."]);
    git(&case.source, &["commit", "-q", "-m", "nothing"]);
    let head = case.head();
    case.push(&[command("main", None, Some(&head))], &case.pack(&[&head]));
}

#[test]
fn a_stopped_push_leaves_nothing() {
    let case = Case::new();
    let head = case.head();
    let commands = [command("main", None, Some(&head))];
    let before = listing(&case.repo);
    let stop = AtomicBool::new(true);
    let pack = case.pack(&[&head]);
    let request = request(&commands);
    let result = Quarantine::receive(
        &case.repo,
        &mut &pack[..],
        &request,
        &case.limits,
        &stop,
        Faults::default(),
    );
    assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
    assert_eq!(listing(&case.repo), before);
}

/// Puts the checksum right, so that what is damaged is seen only by who looks inside.
fn resealed(mut pack: Vec<u8>) -> Vec<u8> {
    pack.truncate(pack.len() - 20);
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().unwrap().as_slice());
    pack
}

#[test]
fn packs_that_lie_with_a_right_checksum_bring_nothing_down() {
    let mut case = Case::new();
    case.limits.object_bytes = 1 << 20;
    let first = case.push_main();
    let lines: Vec<_> = (0..400).map(|n| (n * 7919 % 401).to_string()).collect();
    commit_file(&case.source, "big", &lines.join("\n"));
    let head = commit_file(&case.source, "big", &format!("0\n{}", lines.join("\n")));
    let commands = [command("main", Some(&first), Some(&head))];
    let pack = case.pack(&[&head, &format!("^{first}")]);
    drop(case.receive(&commands, &resealed(pack.clone())).unwrap());
    let before = listing(&case.repo);
    let flips = prop::collection::vec((12..pack.len() - 20, any::<u8>()), 1..4);
    let config = ProptestConfig::with_cases(200);
    proptest!(config, |(flips in flips, objects in prop::option::of(0u32..20))| {
        let mut damaged = pack.clone();
        for (at, byte) in flips {
            damaged[at] = byte;
        }
        if let Some(objects) = objects {
            damaged[8..12].copy_from_slice(&objects.to_be_bytes());
        }
        let _ = case.receive(&commands, &resealed(damaged));
        prop_assert_eq!(&listing(&case.repo), &before);
    });
}
