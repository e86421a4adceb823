use load_tests::lab::plan::{Access, Wishes};
use load_tests::lab::{Lab, LabCall, Setup};

#[test]
fn plain() {
    let wishes = Wishes {
        sites: 2,
        phones: 2,
        last_access: Access::Own,
        ..Wishes::new(&format!("t{}", std::process::id()))
    };
    let began = std::time::Instant::now();
    let lab = Lab::up(
        &Setup::new(std::path::Path::new(env!("CARGO_BIN_EXE_centrex6")), wishes).disposable(),
        |step| eprintln!("{:?} {step}", began.elapsed()),
    )
    .unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{:?} up", began.elapsed());
    let (one, two) = (lab.phone(1, 1).unwrap(), lab.phone(1, 2).unwrap());
    for (from, to, dialled) in [
        (one, two, "102".to_owned()),
        (one, lab.phone(2, 1).unwrap(), "8002101".to_owned()),
        (one, lab.gateway().unwrap(), "0312345678".to_owned()),
        (lab.gateway().unwrap(), two, lab.plan().dorms[0].phones[1].e164()),
    ] {
        let call = LabCall::set_up(from, to, &dialled).unwrap_or_else(|error| panic!("{error}"));
        call.await_audio(50, std::time::Duration::from_secs(10)).unwrap_or_else(|error| panic!("{error}"));
        let report = call.hang_up().unwrap();
        eprintln!("{:?} {report:?}", began.elapsed());
        assert!(report.is_intact(), "{report:?}");
    }
}
