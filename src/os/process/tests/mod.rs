//! Real starts and their failures: credentials, descriptors, limits, adoption, many at once.

mod capabilities;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::os::Error;
use crate::os::pidfd::Exit;
use crate::types::error::Code;
use crate::types::exit::Cause;

fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), std::env::var_os("PATH").expect("has a PATH"))],
        cwd: "/".into(),
        ..Command::default()
    }
}

fn shell(script: &str) -> Command {
    command(&["sh", "-c", script])
}

fn spawner() -> Spawner {
    Spawner::with_threads(1).expect("starts")
}

/// Runs to the end, and gives what it wrote to standard output.
async fn run(mut command: Command) -> (Exit, String) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    command.descriptors.push((1, Arc::new(OwnedFd::from(writer))));
    let spawner = spawner();
    let child = spawner.spawn(command).await.expect("starts");
    let exit = child.wait().await.expect("ends");
    let mut text = String::new();
    let mut reader = File::from(OwnedFd::from(reader));
    reader.read_to_string(&mut text).expect("reads");
    (exit, text)
}

async fn refusal(command: Command) -> Error {
    let error = spawner().spawn(command).await.expect_err("does not start");
    let _ = crate::types::error::chain(&error);
    error
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn file(directory: &tempfile::TempDir, name: &str, mode: u32, text: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("sets the mode");
    path.to_str().expect("is text").to_owned()
}

#[tokio::test]
async fn codes_signals_and_cores_are_told_apart() {
    let (exit, _) = run(shell("exit 37")).await;
    assert_eq!(exit.cause, Cause::Code(37));
    assert!(exit.usage.expect("is accounted").max_memory_bytes > 0);
    let (exit, _) = run(shell("kill -TERM $$")).await;
    assert_eq!(exit.cause, Cause::Signal { signal: 15, core: false });
    let mut dumping = shell("kill -QUIT $$");
    dumping.rlimits = vec![(Resource::RLIMIT_CORE, 0)];
    let (exit, _) = run(dumping).await;
    assert_eq!(exit.cause, Cause::Signal { signal: 3, core: false });
}

#[tokio::test]
async fn the_end_is_told_as_often_as_it_is_asked() {
    let spawner = spawner();
    let child = spawner.spawn(shell("exit 3")).await.expect("starts");
    let first = child.wait().await.expect("ends");
    assert_eq!(child.wait().await.expect("is remembered"), first);
    assert_eq!(spawner.children().count(), 0);
    assert!(child.signal(15).is_ok(), "a process that has ended is no error");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_with_where_it_was_looked_for() {
    let mut missing = command(&["no-such-program"]);
    missing.env = vec![("PATH".into(), "/bin:/usr/bin".into())];
    let error = refusal(missing).await;
    assert_eq!(error.code(), Code::ProgramNotFound);
    let text = error.to_string();
    assert_eq!(text, "there is no program `no-such-program` in PATH `/bin:/usr/bin`");
    let error = refusal(command(&["./no-such-program"])).await;
    assert_eq!(error.code(), Code::ProgramNotFound);
}

#[tokio::test]
async fn a_program_without_permission_or_format_may_not_be_executed() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let plain = file(&directory, "plain", 0o644, "#!/bin/sh\n");
    assert_eq!(refusal(command(&[&plain])).await.code(), Code::ProgramNotExecutable);
    let garbage = file(&directory, "garbage", 0o755, "neither a script nor a binary");
    assert_eq!(refusal(command(&[&garbage])).await.code(), Code::ProgramNotExecutable);
    let error = refusal(command(&["/"])).await;
    assert_eq!(error.code(), Code::ProgramNotExecutable);
    // On the PATH as well, and a later directory that has it wins.
    let mut on_path = command(&["sh"]);
    fs::copy(&plain, directory.path().join("sh")).expect("copies");
    on_path.env = vec![("PATH".into(), directory.path().into())];
    assert_eq!(refusal(on_path.clone()).await.code(), Code::ProgramNotExecutable);
    on_path.env[0].1.push(":/bin");
    let child = spawner().spawn(on_path).await.expect("the one in /bin");
    assert_eq!(child.wait().await.expect("ends").cause, Cause::Code(0));
}

#[tokio::test]
async fn a_missing_interpreter_is_named() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let script = file(&directory, "script", 0o755, "#! /no/such/interpreter -x\n");
    let error = refusal(command(&[&script])).await;
    assert_eq!(error.code(), Code::ProgramNotFound);
    assert!(error.to_string().ends_with("its interpreter `/no/such/interpreter` does not"));
}

#[tokio::test]
async fn a_directory_that_cannot_be_entered() {
    let mut lost = shell("true");
    lost.cwd = "/no/such/directory".into();
    assert_eq!(refusal(lost).await.code(), Code::WorkingDirectory);
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("makes a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("closes");
    let mut closed = shell("true");
    closed.cwd = directory.path().into();
    closed.user = Some("nobody".to_owned());
    let error = refusal(closed).await;
    assert_eq!(error.code(), Code::WorkingDirectory, "entered as the target user");
}

#[tokio::test]
async fn users_and_permissions() {
    let mut stranger = shell("true");
    stranger.user = Some("no-such-user".to_owned());
    assert_eq!(refusal(stranger).await.code(), Code::UnknownUser);
    let mut raised = shell("true");
    raised.rlimits = vec![(Resource::RLIMIT_NOFILE, 1 << 40)];
    assert_eq!(refusal(raised).await.code(), Code::NotPermitted, "above fs.nr_open");
    if !is_root() {
        return;
    }
    let mut nobody = shell("id -u; id -g; id -G; echo $USER $HOME; exec cat /proc/self/status");
    nobody.user = Some("nobody".to_owned());
    nobody.group = Some("4242".to_owned());
    let (exit, text) = run(nobody.clone()).await;
    assert_eq!(exit.cause, Cause::Code(0));
    let lines: Vec<_> = text.lines().collect();
    let account = lookup(Some("nobody"), Some("4242")).expect("exists");
    assert_eq!(lines[0], account.uid.to_string());
    assert_eq!(lines[1], "4242");
    assert!(lines[2].split(' ').any(|group| group == "4242"));
    assert!(!lines[2].split(' ').any(|group| group == "0"), "no group of ours: {}", lines[2]);
    assert!(lines[3].starts_with("nobody /"));
    let capabilities = lines.iter().find(|line| line.starts_with("CapEff")).expect("is listed");
    assert!(capabilities.ends_with("0000000000000000"), "{capabilities}");
    // The limit counts the processes that the user has, so let it have one.
    let mut other = command(&["sleep", "1000"]);
    other.user = Some("nobody".to_owned());
    let other = spawner().spawn(other).await.expect("starts");
    nobody.rlimits = vec![(Resource::RLIMIT_NPROC, 0)];
    assert_eq!(refusal(nobody).await.code(), Code::OutOfResources, "no process left for it");
    other.signal(9).expect("signals");
    other.wait().await.expect("ends");
}

#[tokio::test]
async fn commands_that_make_no_sense() {
    assert_eq!(refusal(command(&[])).await.code(), Code::StartFailed);
    assert_eq!(refusal(command(&["sh", "a\0b"])).await.code(), Code::StartFailed);
    let null = Arc::new(OwnedFd::from(File::open("/dev/null").expect("opens")));
    let mut twice = shell("true");
    twice.descriptors = vec![(5, Arc::clone(&null)), (5, Arc::clone(&null))];
    assert_eq!(refusal(twice).await.code(), Code::StartFailed);
    let mut negative = shell("true");
    negative.descriptors = vec![(-1, null)];
    assert_eq!(refusal(negative).await.code(), Code::StartFailed);
}

#[tokio::test]
async fn starts_clean_no_signal_blocked_or_ignored_own_session_and_group() {
    let (_, text) = run(command(&["cat", "/proc/self/status", "/proc/self/stat"])).await;
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        let line = text.lines().find(|line| line.starts_with(field)).expect("is listed");
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    let stat = text.lines().last().expect("has a last line");
    let sample = crate::os::procfs::parse(stat.as_bytes()).expect("parses");
    let pid: u32 = stat.split(' ').next().expect("has fields").parse().expect("is a number");
    assert_eq!((sample.group, sample.session, sample.parent), (pid, pid, std::process::id()));
}

#[tokio::test]
async fn inherits_exactly_the_descriptors_named() {
    // Something that is not closed on exec, as a careless library may leave it.
    let leaked = File::open("/dev/null").expect("opens");
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).expect("clears the flag");
    let list = ["ls", "/proc/self/fd"];
    let (_, text) = run(command(&list)).await;
    // `ls` itself opens the directory as 3.
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    let (mut extra_reader, extra_writer) = std::io::pipe().expect("pipe");
    let writer = Arc::new(OwnedFd::from(extra_writer));
    let mut extra = shell("echo seven >&7; echo nine >&9; exec ls /proc/self/fd");
    extra.descriptors = vec![(9, Arc::clone(&writer)), (7, writer)];
    let (_, text) = run(extra).await;
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "7", "9"]);
    let mut through = String::new();
    extra_reader.read_to_string(&mut through).expect("reads to the end: no writer is left");
    assert_eq!(through, "seven\nnine\n");
    drop(leaked);
}

#[tokio::test]
async fn a_descriptor_may_take_the_number_of_another_that_is_handed_over() {
    use std::os::fd::AsRawFd;
    let directory = tempfile::tempdir().expect("makes a directory");
    let open = |name: &str| {
        let path = file(&directory, name, 0o644, name);
        Arc::new(OwnedFd::from(File::open(path).expect("opens")))
    };
    let (first, second) = (open("first"), open("second"));
    let (low, high) = (first.as_raw_fd(), second.as_raw_fd());
    let mut swapped = shell(&format!("cat /dev/fd/{low}; echo; cat /dev/fd/{high}"));
    swapped.descriptors = vec![(low, second), (high, first)];
    assert_eq!(run(swapped).await.1, "second\nfirst");
}

#[tokio::test]
async fn mask_priority_limits_and_directory_are_set() {
    let mut command = shell("umask; ulimit -n; ulimit -Hn; pwd; nice; echo $ONLY; env | wc -l");
    command.umask = Some(0o027);
    command.nice = Some(7);
    command.rlimits = vec![(Resource::RLIMIT_NOFILE, 64)];
    command.cwd = "/usr".into();
    command.env.push(("ONLY".into(), "this".into()));
    let (_, text) = run(command).await;
    // PATH, ONLY, and PWD, which the shell adds.
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["0027", "64", "64", "/usr", "7", "this", "3"]
    );
}

#[tokio::test]
async fn nothing_is_leaked_by_many_starts_and_failures() {
    let spawner = spawner();
    // Other tests run beside this one in the same process, so count what only these starts could leave: pidfds.
    let pidfds_of = |pid: u32| {
        let entries = fs::read_dir("/proc/self/fdinfo").expect("lists");
        entries
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .filter(|text| text.lines().any(|line| line == format!("Pid:\t{pid}")))
            .count()
    };
    for _ in 0..500 {
        let child = spawner.spawn(command(&["true"])).await.expect("starts");
        let pid = child.pid();
        assert!(child.start_time() > 0);
        assert_eq!(child.wait().await.expect("ends").cause, Cause::Code(0));
        drop(child);
        assert_eq!(pidfds_of(pid), 0);
    }
    for _ in 0..100 {
        let mut lost = shell("true");
        lost.cwd = "/no/such/directory".into();
        spawner.spawn(lost).await.expect_err("does not start");
    }
    assert_eq!(spawner.children().count(), 0);
}

#[tokio::test]
async fn adoption_takes_the_right_process_and_refuses_a_wrong_start() {
    let spawner = spawner();
    let child = spawner.spawn(command(&["sleep", "1000"])).await.expect("starts");
    let (pid, start_time) = (child.pid(), child.start_time());
    assert_eq!(start_time, crate::os::procfs::start_time(pid).expect("runs"));
    let others = Arc::new(crate::os::children::Children::default());
    let wrong = Child::adopt(pid, start_time + 1, &others).expect("asks");
    assert!(wrong.is_none(), "another start is another process");
    let adopted = Child::adopt(pid, start_time, &others).expect("asks").expect("is the same");
    adopted.signal(9).expect("signals");
    let killed = Cause::Signal { signal: 9, core: false };
    assert_eq!(child.wait().await.expect("ends").cause, killed);
    drop(adopted);
    assert!(Child::adopt(pid, start_time, &others).expect("asks").is_none(), "it is gone");
}

#[tokio::test]
async fn the_status_of_a_process_that_is_not_our_child_is_known_or_said_to_be_unknown() {
    // The shell is our child, the sleeping process its child: adopted, and ended under the shell's eyes.
    let (reader, writer) = std::io::pipe().expect("pipe");
    let mut parent = shell("sh -c 'read line; exit 37' <&3 & echo $!; wait; exit 0");
    let (gate_reader, gate_writer) = std::io::pipe().expect("pipe");
    parent.descriptors =
        vec![(1, Arc::new(OwnedFd::from(writer))), (3, Arc::new(OwnedFd::from(gate_reader)))];
    let spawner = spawner();
    let shell = spawner.spawn(parent).await.expect("starts");
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(reader), &mut line).map(|_| line)
    });
    let line = line.await.expect("runs").expect("reads");
    let pid: u32 = line.trim().parse().expect("is a number");
    let start_time = crate::os::procfs::start_time(pid).expect("runs");
    let children = spawner.children();
    let adopted = Child::adopt(pid, start_time, children).expect("asks").expect("is the same");
    assert!(!children.knows(pid), "not ours to reap");
    drop(gate_writer);
    let exit = adopted.wait().await.expect("ends");
    let told = matches!(exit.cause, Cause::Code(37) | Cause::Unknown);
    assert!(told && exit.usage.is_none(), "{exit:?}");
    assert_eq!(shell.wait().await.expect("ends").cause, Cause::Code(0));
}

#[tokio::test]
async fn threads_end_with_the_last_handle_and_an_unwanted_child_is_killed() {
    let spawner = spawner();
    let children = Arc::clone(spawner.children());
    // One holder is here, one in the handle, one in the thread's launcher.
    assert_eq!(Arc::strong_count(&children), 3);
    let (writer, mut reader) = tokio::net::unix::pipe::pipe().expect("pipe");
    let mut unwanted = command(&["sleep", "1000"]);
    let writer = Arc::new(writer.into_blocking_fd().expect("is a descriptor"));
    unwanted.descriptors = vec![(1, writer)];
    // Polled once: queued, then nobody waits for it any more.
    let start = Box::pin(spawner.spawn(unwanted));
    let polled = futures_util::future::select(start, std::future::ready(())).await;
    drop(polled);
    let mut buffer = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await;
    assert_eq!(read.expect("ends"), 0, "no process holds the writing end");
    drop(spawner);
    while Arc::strong_count(&children) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_descriptors_a_start_fails_clearly_and_works_again_later() {
    let name =
        "os::process::tests::without_descriptors_a_start_fails_clearly_and_works_again_later";
    crate::os::isolated::in_own_process(name, async {
        nix::sys::resource::setrlimit(Resource::RLIMIT_NOFILE, 64, 64).expect("limits");
        let spawner = spawner();
        let mut held: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(!held.is_empty());
        let error = spawner.spawn(command(&["true"])).await.expect_err("none is left");
        assert_eq!(error.code(), Code::OutOfResources, "{error}");
        // One for the process; its start time needs none of ours.
        held.pop();
        let child = spawner.spawn(command(&["true"])).await.expect("starts");
        assert!(child.start_time() > 0);
        drop(held);
        assert_eq!(child.wait().await.expect("ends").cause, Cause::Code(0));
    })
    .await;
}

#[tokio::test]
async fn any_number_of_descriptors_is_handed_over_and_none_is_kept() {
    let spawner = spawner();
    for _ in 0..3 {
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let writer = Arc::new(OwnedFd::from(writer));
        let mut many = shell("for n in 3 4 5 6 7 8 9; do eval \"echo $n >&$n\"; done");
        // More than the launcher keeps places for, and high ones.
        many.descriptors = (3..40).map(|target| (target, Arc::clone(&writer))).collect();
        drop(writer);
        let child = spawner.spawn(many).await.expect("starts");
        let mut text = String::new();
        reader
            .read_to_string(&mut text)
            .expect("reads to the end: no writer is left, here least of all");
        assert_eq!(text.split_whitespace().collect::<String>(), "3456789");
        child.wait().await.expect("ends");
    }
}

#[tokio::test]
async fn a_process_finds_its_own_id_in_its_environment() {
    for program in ["echo $MINE $$", "exec sh -c 'echo $MINE $$'"] {
        let command = Command { own_pid_in: Some("MINE"), ..shell(program) };
        let (_, text) = run(command).await;
        let (mine, own) = text.trim().split_once(' ').expect("two numbers");
        assert_eq!(mine, own);
    }
    let (_, text) = run(shell("echo ${MINE-unset}")).await;
    assert_eq!(text, "unset\n");
}

#[tokio::test]
async fn a_child_never_changes_the_descriptors_of_cafe() {
    use std::os::unix::fs::MetadataExt;
    let identity = |descriptor: i32| {
        let file = fs::metadata(format!("/proc/self/fd/{descriptor}")).expect("is open");
        (file.dev(), file.ino())
    };
    let standard = [identity(0), identity(1), identity(2)];
    let (_, text) = run(shell("echo said")).await;
    assert_eq!(text, "said\n");
    let mut refused = shell("true");
    refused.cwd = "/no/such/directory".into();
    refusal(refused).await;
    assert_eq!([identity(0), identity(1), identity(2)], standard);
}
