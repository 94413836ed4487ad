fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some(slugline::sandbox::HELPER_COMMAND) {
        slugline::sandbox::helper_main(std::path::Path::new(&args.next().unwrap()));
    }
    let dir = tempfile::tempdir().unwrap();
    let sb = slugline::sandbox::Sandbox::new("/proc/self/exe");
    println!("{:?}", sb.probe(dir.path()));
    let root = slugline::sandbox::Root::create(&dir.path().join("root")).unwrap();
    std::fs::write(root.app().join("x"), "1").unwrap();
    root.hand_over().unwrap();
    let spec = slugline::sandbox::Spec { argv: vec!["sh".into(), "-c".into(), "id; ls -la / /app /etc; ls /dev; cat /proc/self/status | grep -E 'Cap|NoNew|Sig'; ps ax; ls -la /proc/self/fd; ln /app/x /cache/x && echo linked; touch /etc/x; touch /usr/x; cat /etc/shadow; ls /root; umask; sleep 100 & exit 3".into()], env: vec![("PATH".into(), "/usr/bin:/bin".into())], cwd: "/app".into() };
    let t = std::time::Instant::now();
    println!(
        "{:?} {:?}",
        sb.run(&root, &spec, &Default::default(), &mut std::io::stdout()),
        t.elapsed()
    );
}
