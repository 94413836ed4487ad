//! Builds that take their time.

use std::fs;

use crate::site::Site;

#[test]
fn a_changed_runtime_says_that_what_it_made_is_discarded() {
    let site = Site::new();
    let app = site.app("hello", "no_language");
    app.write("requirements.txt", "");
    app.commit("Python");
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Saving cache"), "{said}");
    let kept = site.data().join("caches").join(site.app_id("hello"));
    let key = kept.join("current/files/python/key");
    let text = fs::read_to_string(&key).unwrap();
    let version = text.lines().find_map(|line| line.strip_prefix("python "));
    let version = version.unwrap().to_owned();
    let older = text.replace(&format!("python {version}\n"), "python 3.1.4\n");
    fs::write(&key, older).unwrap();
    app.write("more", "");
    app.commit("More");
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Discarding cache since:"), "{said}");
    let line = format!("- The Python version changed from 3.1.4 to {version}");
    assert!(said.contains(&line), "{said}");
}
