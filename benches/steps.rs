//! Steps, loads and whole runs a second.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shootdown::Run;
use shootdown::emu::{Costs, Size};
use shootdown::mmu::{self, VirtAddr};
use shootdown::os::lock::PTL;
use shootdown::os::mm::{read_pte, update_pte};
use shootdown::os::{self, Config, Kernel, User};

fn config(cpus: u16) -> Config {
    Config {
        costs: Costs::preset("skylake-2s").expect("compiled in"),
        size: Size {
            cpus,
            frames: 65536,
            store_buffers: false,
        },
        patches: Vec::new(),
        flush: os::flush::ALL[0],
    }
}

const ROUNDS: u32 = 2000;

/// Every CPU takes one lock and edits an entry of its own page, again and again.
fn contend(criterion: &mut Criterion, cpus: u16) {
    let kernel = Kernel::new(config(cpus));
    kernel.prepare(|setup| {
        let process = setup.empty_process("contend");
        let at = setup.map(process, u64::from(cpus) * 4096);
        let lock = kernel.machine.new_lock(&PTL);
        for cpu in 0..cpus {
            let kernel = &kernel;
            setup.thread(process, "editor", cpu, move |_| async move {
                let mm = kernel.current_mm();
                let va: VirtAddr = at + u64::from(cpu) * 4096;
                let root = kernel.mm(mm).root;
                let entry = mmu::walk::leaf_entry_addr(&kernel.machine.memory(), root, va);
                let entry = entry.expect("mapped");
                for _ in 0..ROUNDS / u32::from(cpus) * 16 {
                    let guard = kernel.machine.spin_lock(lock).await;
                    read_pte(kernel, entry).await;
                    update_pte(kernel, mm, va, entry, |pte| pte).await;
                    guard.unlock().await;
                }
            });
        }
    });
    kernel.run(1);
    let steps = kernel.machine.steps();
    let mut group = criterion.benchmark_group("steps");
    group.throughput(Throughput::Elements(steps));
    group.bench_function(format!("timed, {cpus} CPUs contending"), |bench| {
        bench.iter(|| kernel.run(1));
    });
    group.finish();
}

fn four_cpus(criterion: &mut Criterion) {
    contend(criterion, 4);
}

fn sixty_four_cpus(criterion: &mut Criterion) {
    contend(criterion, 64);
}

fn loads(criterion: &mut Criterion) {
    const LOADS: u64 = 100_000;
    let kernel = Kernel::new(config(1));
    kernel.prepare(|setup| {
        let process = setup.empty_process("loads");
        let at = setup.map(process, 4096);
        setup.thread(process, "loader", 0, move |user: User<'_>| async move {
            for _ in 0..LOADS {
                user.load_u64(at).await;
            }
        });
    });
    let mut group = criterion.benchmark_group("loads");
    group.throughput(Throughput::Elements(LOADS));
    group.bench_function("TLB hits, one CPU", |bench| bench.iter(|| kernel.run(1)));
    group.finish();
}

fn whole_runs(criterion: &mut Criterion) {
    let run = Run::of("lost-update")
        .expect("listed")
        .chooser("random")
        .expect("listed");
    let mut group = criterion.benchmark_group("whole runs");
    group.throughput(Throughput::Elements(1));
    run.session(|session| {
        let kernel = session.kernel();
        session.run(1);
        let mut seed = 0;
        group.bench_function("lost-update, random, reset each time", |bench| {
            bench.iter(|| {
                seed += 1;
                kernel.run(seed)
            });
        });
    })
    .expect("the configuration is whole");
    group.finish();
}

fn big_machine(criterion: &mut Criterion) {
    criterion.bench_function("start a 64 GiB machine with 512 CPUs", |bench| {
        bench.iter(|| {
            let kernel = Kernel::new(Config {
                size: Size {
                    cpus: 512,
                    frames: 1 << 24,
                    store_buffers: false,
                },
                ..config(1)
            });
            kernel.prepare(|_| {});
            kernel.run(1)
        });
    });
}

criterion_group!(
    benches,
    four_cpus,
    sixty_four_cpus,
    loads,
    whole_runs,
    big_machine
);
criterion_main!(benches);
