use emu::{Costs, Size};
use os::{Config, Kernel};
use workloads::{CATALOGUE, Params};
#[test]
fn t() {
    let r = *CATALOGUE.iter().find(|r| r.name() == "fork-write").unwrap();
    let params = Params::defaults(r);
    let k = Kernel::new(Config { costs: Costs::preset("skylake-2s").unwrap(), size: Size { cpus: 4, frames: 65536 }, patches: vec![], flush: os::flush::ALL[1] });
    k.prepare(|s| r.prepare(s, &params));
    k.machine.record(emu::Window { from: 0, to: 10000 });
    k.run(1);
    for r in k.machine.records().iter() { println!("{r}"); }
}
