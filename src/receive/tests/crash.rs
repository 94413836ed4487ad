//! What a process leaves when it ends at a bad moment, and how the next goes on.

use super::*;

#[test]
fn promotion_goes_on_where_it_was_cut() {
    for cut in 0..5 {
        let case = Case::new();
        let head = case.head();
        let commands = [command("main", None, Some(&head))];
        let mut quarantine = case.receive(&commands, &case.pack(&[&head])).unwrap();
        quarantine.keep().unwrap();
        let name = quarantine.name().to_owned();
        let dir = quarantine.objects_dir().unwrap().to_owned();
        drop(quarantine);
        let packs = case.repo.join("objects/pack");
        let move_all = |suffix: &str| {
            for entry in fs::read_dir(dir.join("pack")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().unwrap() == suffix {
                    fs::rename(&path, packs.join(path.file_name().unwrap())).unwrap();
                }
            }
        };
        if cut > 0 {
            move_all("pack");
        }
        if cut > 1 {
            move_all("idx");
        }
        if cut > 2 {
            fs::remove_dir_all(dir.join("pack")).unwrap();
        }
        if cut > 3 {
            fs::remove_dir_all(&dir).unwrap();
        }
        sweep(&case.repo, &[&name]).unwrap();
        match Quarantine::adopt(&case.repo, &name) {
            Some(quarantine) => quarantine.promote().unwrap(),
            None => assert_eq!(cut, 4),
        }
        apply(&case.repo, &commands, Faults::default()).unwrap();
        apply(&case.repo, &commands, Faults::default()).unwrap();
        git(&case.repo, &["fsck", "--strict"]);
        assert_eq!(git_line(&case.repo, &["rev-parse", "main"], b""), head);
        assert!(!dir.exists());
    }
}

#[test]
fn the_same_pack_can_be_promoted_twice() {
    let case = Case::new();
    let head = case.push_main();
    let pack = case.pack(&[&head]);
    case.push(&[command("again", None, Some(&head))], &pack);
}

#[test]
fn names_of_quarantines_lead_nowhere_else() {
    let case = Case::new();
    for name in [
        "",
        "pack",
        "incoming-",
        "incoming-/../pack",
        "../objects",
        "incoming-a.b",
    ] {
        assert!(Quarantine::adopt(&case.repo, name).is_none(), "{name}");
    }
}

#[test]
fn sweeping_removes_what_crashed_processes_left() {
    let case = Case::new();
    let head = case.push_main();
    let before = listing(&case.repo);
    let commands = [command("b", None, Some(&head))];
    let empty = case.pack(&[&head, &format!("^{head}")]);
    let mut kept = case.receive(&commands, &empty).unwrap();
    kept.keep().unwrap();
    let name = kept.name().to_owned();
    drop(kept);
    fs::write(case.repo.join("refs/heads/main.lock"), "").unwrap();
    fs::write(case.repo.join("packed-refs.lock"), "").unwrap();
    assert_eq!(sweep(&case.repo, &[&name]).unwrap(), 0);
    assert!(case.repo.join("objects").join(&name).exists());
    assert_eq!(sweep(&case.repo, &[]).unwrap(), 1);
    assert_eq!(listing(&case.repo), before);
}
