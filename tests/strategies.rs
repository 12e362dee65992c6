//! `docs/strategies.md` is what the manifests of the shipped plugins say.

use std::path::Path;
use std::process::Command;

#[test]
fn the_page_of_strategies_is_what_the_manifests_give() {
    let output = Command::new(env!("CARGO_BIN_EXE_colla-dev"))
        .args(["strategies", "--check"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("colla-dev starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\nrun `cargo dev strategies` and commit what it writes");
}

#[test]
fn the_page_of_strategies_has_every_shipped_plugin_once_with_its_parameters() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/strategies.md");
    let page = std::fs::read_to_string(page).expect("docs/strategies.md");
    for name in colla::plugin::shipped_names() {
        let heading = format!("\n### {name}\n");
        assert_eq!(page.matches(&heading).count(), 1, "`{name}`");
        let section = page.split(&heading).nth(1).and_then(|rest| rest.split("\n#").next()).expect("a section");
        let shipped = colla::config::Plugin::shipped(name);
        for parameter in colla::plugin::inspect(&shipped).expect("a shipped plugin").manifest.parameters {
            assert!(section.contains(&format!("| `{}` |", parameter.name)), "`{name}` has `{}`", parameter.name);
        }
    }
}

#[test]
fn an_attack_on_training_keeps_no_updates_and_one_on_updates_does() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/strategies.md");
    let page = std::fs::read_to_string(page).expect("docs/strategies.md");
    let keeps = |name: &str| {
        let section = page.split(&format!("\n### {name}\n")).nth(1).and_then(|rest| rest.split("\n#").next());
        section.expect("a section").contains("- memory: the round's updates")
    };
    assert!(keeps("sign-flip") && !keeps("label-flip"));
}
