//! Parts that a program has to bring (`type: custom`); that it can is shown by `examples/custom_parts`.

use mapproxy_core::AppBuilder;

const CONFIG: &str = "
services: {tms: }
layers: [{name: plain, title: Plain, sources: [plain_cache]}]
caches: {plain_cache: {grids: [GLOBAL_WEBMERCATOR], sources: [plain]}}
sources: {plain: {type: custom}}
";

fn refusal(builder: &AppBuilder) -> String {
    builder.build().expect_err("it lacks a part").to_string()
}

#[test]
fn a_source_that_nobody_makes_or_that_cannot_be_made_is_refused_with_its_place() {
    let builder = AppBuilder::from_text(CONFIG, std::env::temp_dir());
    let message = refusal(&builder);
    assert!(message.contains("sources.plain") && message.contains("made by the program"), "{message}");
    let message = refusal(&builder.source("plain", |_| Err("the raster is missing".to_owned())));
    assert!(message.contains("sources.plain") && message.contains("the raster is missing"), "{message}");
}

#[test]
fn a_store_that_nobody_makes_is_refused_with_its_place() {
    let text = CONFIG.replace("{type: custom}", "{type: debug}");
    let text = text.replace("sources: [plain]}}", "sources: [plain], cache: {type: custom}}}");
    let message = refusal(&AppBuilder::from_text(text, std::env::temp_dir()));
    assert!(message.contains("caches.plain_cache") && message.contains("made by the program"), "{message}");
}
