//! What README shows, and the snapshots of what a person reads.

use assert_cmd::Command;
use insta::Settings;
use shootdown::os::Dump;
use shootdown::{Explore, Run};

fn in_folder(name: &str, check: impl FnOnce()) {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path(format!("../snapshots/{name}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(check);
}

#[test]
fn a_fix_is_judged_in_four_lines() -> Result<(), shootdown::Error> {
    let report = Run::of("forkscrew")?
        .kernel("v2.6.29")?
        .fix("B02")?
        .seed(7)
        .run()?;
    assert!(report.is_clean(), "{report}");
    in_folder("forkscrew", || {
        insta::assert_snapshot!("diagram-B02-seed-7", report.diagram())
    });
    Ok(())
}

#[test]
fn no_interleaving_of_read_and_exit_sleeps_in_the_interrupt() -> Result<(), shootdown::Error> {
    let read_and_exit = Run::of("dio-exit")?.chooser("exhaustive")?;
    let broken = Explore::new(read_and_exit.clone().fix("A30")?).run()?;
    assert!(broken.words.contains("ATOMIC"), "{broken}");
    let fine = Explore::new(read_and_exit).run()?;
    assert!(fine.is_clean() && fine.complete, "{fine}");
    Ok(())
}

/// Every block of README that begins with a command is what that command prints.
#[test]
fn what_follows_a_command_is_what_it_prints() {
    let blocks = include_str!("../README.md").split("```text\n$ shootdown ");
    let mut commands = 0;
    for block in blocks.skip(1) {
        let (command, rest) = block.split_once('\n').expect("a command and its output");
        let (shown, _) = rest.split_once("```").expect("the block ends");
        let output = Command::cargo_bin("shootdown")
            .expect("built")
            .args(command.split_whitespace())
            .output()
            .expect("runs");
        let printed = String::from_utf8(output.stdout).expect("text");
        let lines = |text: &str| {
            text.trim_end()
                .lines()
                .map(str::trim_end)
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(lines(shown), lines(&printed), "{command}");
        commands += 1;
    }
    assert!(commands >= 3, "README shows {commands} commands");
}

#[test]
fn the_diagram_of_the_lost_sector() -> Result<(), shootdown::Error> {
    let report = Run::of("forkscrew")?.kernel("v2.6.18")?.seed(7).run()?;
    in_folder("forkscrew", || {
        insta::assert_snapshot!("diagram-seed-7", report.diagram())
    });
    Ok(())
}

#[test]
fn what_each_reproducer_prints() {
    for name in [
        "forkscrew",
        "dma-thread",
        "forkscrew-reverse",
        "vendor-512",
        "lost-update",
        "fork-write",
    ] {
        let report = Run::of(name).expect("listed").run().expect("runs");
        in_folder(name, || {
            insta::assert_snapshot!("report", report.to_string())
        });
    }
    let fixed = Run::of("forkscrew")
        .expect("listed")
        .fix("B02")
        .expect("a row")
        .run();
    in_folder("forkscrew", || {
        insta::assert_snapshot!("report-B02", fixed.expect("runs").to_string());
    });
    let never = Run::of("fork-write")
        .expect("listed")
        .flush("never")
        .expect("a policy")
        .run();
    in_folder("fork-write", || {
        insta::assert_snapshot!("report-never", never.expect("runs").to_string());
    });
}

#[test]
fn the_machine_while_the_read_is_in_flight() {
    // After the fork and the second worker's pins, before the first sector lands.
    let run = Run::of("forkscrew").expect("listed");
    let text = run.session(|session| {
        let kernel = session.kernel();
        kernel.machine.set_chooser(None);
        kernel.begin(1);
        kernel.machine.pause_at(420);
        kernel.machine.run();
        Dump::ALL
            .map(|(name, what)| format!("-- {name}\n{}", kernel.dump(what)))
            .concat()
    });
    in_folder("forkscrew", || {
        insta::assert_snapshot!("state-420", text.expect("runs"))
    });
}
