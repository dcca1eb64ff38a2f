//! What the machine tells of the running processes: their memory, arguments, environment and limits.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};

use super::scan::{Inhabited, PASSWORD, contains};
use crate::support::process::children;
use crate::support::server::Server;
use crate::support::skipped::skipped;

/// All readable memory of a process, a region at a time; `None` where the kernel does not let us.
fn memory(id: u32) -> Option<Vec<Vec<u8>>> {
    let maps = match fs::read_to_string(format!("/proc/{id}/maps")) {
        Ok(maps) => maps,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => panic!("{error}"),
    };
    let mut memory = match File::open(format!("/proc/{id}/mem")) {
        Ok(memory) => memory,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => panic!("{error}"),
    };
    let mut regions = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, mode) = (fields.next().unwrap(), fields.next().unwrap());
        // What can't be written was read from the program's file.
        if !mode.starts_with("rw") || line.contains("[vvar") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut region = vec![0; usize::try_from(to - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).unwrap();
        // A region may have gone since.
        if memory.read_exact(&mut region).is_ok() {
            regions.push(region);
        }
    }
    Some(regions)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Only root may look at all (hazard 92), and finds the issuer's name but neither a PIN nor a seed, nor the library
/// that knows private keys.
#[tokio::test(flavor = "multi_thread")]
async fn promise_1_and_hazard_92_the_servers_memory_holds_no_pin_and_no_key() {
    let inhabited = Inhabited::new();
    let server = inhabited.deployment.serve();
    inhabited.use_everything(&server).await;
    match memory(server.id()) {
        Some(regions) => {
            assert!(is_root(), "others can read the server's memory");
            let holds = |text: &str| regions.iter().any(|region| contains(region, text.as_bytes()));
            assert!(holds(&inhabited.deployment.issuer()), "what was read is the server's memory");
            for needle in inhabited.enrolled() {
                assert!(!regions.iter().any(|region| needle.is_in(region)), "the server's memory holds a secret");
            }
            assert!(!has_module(server.id()), "the server has loaded the PKCS#11 module");
            assert!(has_module(server.workers()[0]), "the worker has loaded it");
        }
        None => {
            assert!(!is_root());
            skipped("nobody but root can read a server's memory, which is shown, but not that it holds no PIN");
        }
    }
    server.stop();
}

fn has_module(id: u32) -> bool {
    fs::read_to_string(format!("/proc/{id}/maps")).unwrap().contains("libsofthsm2")
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_90_and_92_arguments_environment_and_limits_give_nothing_away() {
    let inhabited = Inhabited::new();
    let server = inhabited.deployment.serve();
    let processes = [vec![server.id()], server.workers()].concat();
    assert_eq!(processes.len(), 2);
    let pin = inhabited.deployment.hsm_token().pin();
    for id in processes {
        let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap();
        assert!(contains(&arguments, b"signet"));
        let environment = match fs::read(format!("/proc/{id}/environ")) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && !is_root() => Vec::new(),
            read => read.unwrap(),
        };
        for secret in [pin.as_str(), PASSWORD, &inhabited.totp.secret_base32, &inhabited.app.secret] {
            assert!(!contains(&arguments, secret.as_bytes()) && !contains(&environment, secret.as_bytes()));
        }
        let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
        // The kernel gives what belongs to an undumpable process to root, whoever runs it.
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{id}/environ")).unwrap());
        assert_eq!(owner, 0);
    }
    stops_with_its_workers(server);
}

/// No worker outlives its server, however that ends.
fn stops_with_its_workers(mut server: Server) {
    let (id, workers) = (server.id(), server.workers());
    server.kill();
    crate::support::process::wait_for("the workers' end", || {
        let is_gone = |id: &u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        workers.iter().all(is_gone).then_some(())
    });
    assert!(children(id).is_empty());
}
