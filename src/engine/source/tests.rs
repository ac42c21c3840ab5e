//! Real folders: what changes their hash, what does not, what belongs to them.

use super::*;
use std::os::unix::fs::symlink;

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            folder.write(path, text);
        }
        folder
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn hash(&self) -> SourceHash {
        hash(self.0.path(), Path::new("Dockerfile")).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = entries(self.0.path(), Path::new("Dockerfile")).unwrap();
        entries.iter().filter(|e| e.kind != Kind::Folder).map(|e| e.path.display().to_string()).collect()
    }
}

#[test]
fn path_bytes_mode_and_link_target_change_the_hash() {
    let folder = Folder::with(&[("app/main.py", "print(1)"), ("run.sh", "exec app")]);
    symlink("app/main.py", folder.path("main")).unwrap();
    let mut seen = vec![folder.hash()];
    let mut differs = |what: &str| {
        let now = folder.hash();
        assert!(!seen.contains(&now), "{what} did not change the hash");
        seen.push(now);
    };
    folder.write("app/main.py", "print(2)");
    differs("bytes");
    fs::rename(folder.path("app/main.py"), folder.path("app/other.py")).unwrap();
    differs("a path");
    fs::set_permissions(folder.path("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    differs("the executable bit");
    fs::remove_file(folder.path("main")).unwrap();
    symlink("app/other.py", folder.path("main")).unwrap();
    differs("a link's target");
    folder.write("Dockerfile", "FROM scratch");
    differs("the Dockerfile");
    fs::remove_file(folder.path("run.sh")).unwrap();
    differs("a file less");
}

#[test]
fn times_empty_folders_secrets_and_leftovers_do_not_change_the_hash() {
    let folder = Folder::with(&[("app/main.py", "print(1)"), (".env.example", "A=")]);
    let before = folder.hash();
    folder.write("app/main.py", "print(1)");
    File::open(folder.path("app/main.py")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::create_dir(folder.path("empty")).unwrap();
    for path in [
        ".env",
        ".env.local",
        "app/.env",
        ".git/HEAD",
        ".scalectl/x",
        "app/__pycache__/main.cpython-311.pyc",
        "old.pyc",
        ".venv/bin/python",
        "node_modules/x/index.js",
    ] {
        folder.write(path, "x");
    }
    folder.write("target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# cargo");
    folder.write("target/release/app", "binary");
    assert_eq!(folder.hash(), before);
    assert_eq!(folder.files(), [".env.example", "app/main.py"]);
}

#[test]
fn the_ignore_file_decides_and_the_dockerfile_stays() {
    let folder = Folder::with(&[
        (".dockerignore", "*\n!app\napp/*.log\n"),
        ("Dockerfile", "FROM scratch"),
        ("app/main.py", ""),
        ("app/x.log", ""),
        ("notes/deep/n.txt", ""),
    ]);
    assert_eq!(folder.files(), ["Dockerfile", "app/main.py"]);
    let before = folder.hash();
    folder.write("notes/deep/n.txt", "changed");
    folder.write("app/x.log", "changed");
    assert_eq!(folder.hash(), before);
    folder.write("Dockerfile.dockerignore", "app\nnotes\n*ignore\n");
    assert_eq!(folder.files(), ["Dockerfile"]);
}

#[test]
fn an_ignore_file_that_is_wrong_is_named_with_its_line() {
    let folder = Folder::with(&[(".dockerignore", "a\n[\n")]);
    let error = hash(folder.0.path(), Path::new("Dockerfile")).unwrap_err().to_string();
    assert!(error.contains(".dockerignore: line 2: \"[\" is not a valid pattern"), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = hash(Path::new("/nonexistent/app"), Path::new("Dockerfile")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/app");
    // A link that loops is a link, not an error; a folder in a file's place is one.
    let folder = Folder::with(&[(".dockerignore/x", "")]);
    symlink("loop", folder.path("loop")).unwrap();
    let error = hash(folder.0.path(), Path::new("Dockerfile")).unwrap_err();
    assert!(error.to_string().ends_with(".dockerignore"), "{error}");
}

#[test]
fn files_that_come_and_go_meanwhile_are_no_error() {
    let folder = Folder::with(&[("stays", "x")]);
    let root = folder.0.path().to_owned();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let churn = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fs::create_dir_all(root.join("d/e")).unwrap();
                fs::write(root.join("d/e/f"), "x").unwrap();
                fs::remove_dir_all(root.join("d")).unwrap();
            }
        })
    };
    for _ in 0..300 {
        folder.hash();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    churn.join().unwrap();
    assert_eq!(folder.files(), ["stays"]);
}
