//! Which commands are done, and how refs move.

use super::*;

#[test]
fn commands_are_compared_with_the_refs() {
    let case = Case::new();
    let head = case.push_main();
    let other = commit_file(&case.source, "x", "x");
    let statuses = case.check(&[
        command("main", Some(&head), Some(&other)),
        command("new", None, Some(&head)),
        command("gone", Some(&head), Some(&other)),
        command("refs/tags/none", None, None),
        command("refs/notes/x", None, Some(&head)),
    ]);
    let ok: Vec<_> = statuses.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, false, true, false]);
    let refused = |command: Command| case.check(&[command])[0].clone().unwrap_err();
    let stale = refused(command("main", Some(&other), Some(&head)));
    assert_eq!(stale, "stale info: the reference has moved; fetch first");
    let exists = refused(command("main", None, Some(&head)));
    assert_eq!(exists, "reference already exists");
    let delete = refused(command("main", Some(&head), None));
    assert_eq!(
        delete,
        "refusing to delete main: the app is deployed from it"
    );

    let mut atomic = request(&[
        command("main", Some(&head), Some(&other)),
        command("gone", Some(&head), None),
    ]);
    atomic.atomic = true;
    let statuses = check(&case.repo, &atomic).unwrap();
    assert_eq!(statuses[0], Err("atomic push failure".to_owned()));
    assert_eq!(statuses[1], Err("no such reference".to_owned()));
}

#[test]
fn a_ref_is_no_directory_of_another() {
    let case = Case::new();
    let head = case.push_main();
    git(&case.repo, &["branch", "a/b", "main"]);
    for packed in [false, true] {
        if packed {
            git(&case.repo, &["pack-refs", "--all"]);
        }
        for (name, fine) in [
            ("main/sub", false),
            ("main/sub/sub", false),
            ("a", false),
            ("a/b/c", false),
            ("a/c", true),
            ("a-b", true),
            ("mai", true),
        ] {
            let status = &case.check(&[command(name, None, Some(&head))])[0];
            assert_eq!(status.is_ok(), fine, "{name}: {status:?}");
        }
    }
    let pair = [
        command("x", None, Some(&head)),
        command("x/y", None, Some(&head)),
    ];
    let ok: Vec<_> = case.check(&pair).iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false]);
}

#[test]
fn one_push_builds_one_commit() {
    let case = Case::new();
    let head = case.push_main();
    let next = commit_file(&case.source, "x", "x");
    let main = command("main", Some(&head), Some(&next));
    let master = |new| command("master", None, Some(new));
    assert!(
        case.check(&[main.clone(), master(&next)])
            .iter()
            .all(Result::is_ok)
    );
    let statuses = case.check(&[main.clone(), master(&head)]);
    assert!(statuses[0].is_ok() && statuses[1].is_err());
    let topic = command("topic", None, Some(&next));
    assert_eq!(to_build(&[topic.clone(), main.clone()]), Some(&main));
    assert_eq!(to_build(&[topic]), None);
    assert_eq!(to_build(&[command("main", Some(&head), None)]), None);
}

#[test]
fn refs_move_together_or_not_at_all() {
    let case = Case::new();
    let head = case.push_main();
    let commands = [
        command("a", None, Some(&head)),
        command("main", Some(&head), None),
        command("b", Some(&head), None),
    ];
    // `b` may be gone already, as after a crash.
    apply(&case.repo, &commands, Faults::default()).unwrap();
    assert_eq!(case.refs(), "refs/heads/a\n");
    let other = commit_file(&case.source, "x", "x");
    let commands = [
        command("c", None, Some(&head)),
        command("a", Some(&other), None),
    ];
    assert!(matches!(
        apply(&case.repo, &commands, Faults::default()),
        Err(Error::Stale { .. })
    ));
    assert_eq!(case.refs(), "refs/heads/a\n");
}

#[test]
fn a_ref_that_a_power_cut_emptied_is_written_again() {
    let case = Case::new();
    let head = case.push_main();
    let old = git_line(&case.repo, &["commit-tree", "-m", "x", "main^{tree}"], b"");
    let path = case.repo.join("refs/heads/main");
    fs::write(&path, "").unwrap();
    let commands = [command("main", Some(&old), Some(&head))];
    apply(&case.repo, &commands, Faults::default()).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), format!("{head}\n"));
}

#[test]
fn empty_directories_are_not_in_the_way() {
    let case = Case::new();
    let head = case.push_main();
    fs::create_dir_all(case.repo.join("refs/heads/x/y")).unwrap();
    let commands = [command("x", None, Some(&head))];
    let empty = case.pack(&[&head, &format!("^{head}")]);
    case.push(&commands, &empty);
    let mode = fs::metadata(&case.repo).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

#[test]
fn deleting_packed_refs_leaves_the_others() {
    let case = Case::new();
    let head = case.push_main();
    let lines: Vec<_> = (0..2000)
        .map(|n| format!("create refs/heads/b{n:04} {head}\n"))
        .collect();
    let lines = lines.concat();
    git_with(&case.repo, &["update-ref", "--stdin"], lines.as_bytes());
    git(&case.repo, &["tag", "-a", "-m", "one", "v1", "main"]);
    git(&case.repo, &["pack-refs", "--all"]);
    let tag = git_line(&case.repo, &["rev-parse", "v1"], b"");
    // Loose over packed, so that both have to go.
    let other = git_line(&case.repo, &["commit-tree", "-m", "x", "main^{tree}"], b"");
    git(&case.repo, &["update-ref", "refs/heads/b0001", &other]);
    let gone = [
        command("b0000", Some(&head), None),
        command("b0001", Some(&other), None),
        command("refs/tags/v1", Some(&tag), None),
    ];
    apply(&case.repo, &gone, Faults::default()).unwrap();
    apply(&case.repo, &gone, Faults::default()).unwrap();
    let refs = case.refs();
    assert_eq!(refs.lines().count(), 2001 - 2);
    assert!(!refs.contains("b0000") && !refs.contains("b0001") && !refs.contains("v1"));
    git(&case.repo, &["fsck", "--strict", "--no-dangling"]);
    // Packed by git and by us again.
    git(&case.repo, &["pack-refs", "--all"]);
    assert_eq!(case.refs(), refs);
    fs::write(case.repo.join("packed-refs.lock"), "").unwrap();
    let error = apply(
        &case.repo,
        &[command("b0002", Some(&head), None)],
        Faults::default(),
    );
    assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
    assert_eq!(case.refs(), refs);
}
