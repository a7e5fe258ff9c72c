//! What docs/reference/zilla.md says of models and catalogs is what tests hold: each of its lines has tests, which are
//! there.

use std::fs;
use std::path::Path;

const VECTORS: &str = "layers/schema/tests/vectors.rs";
const HOSTILE: &str = "layers/schema/tests/hostile.rs";
const MODELS: &str = "layers/schema/tests/registry/models.rs";
const REQUESTS: &str = "layers/schema/tests/registry/requests.rs";
const OUTAGE: &str = "layers/schema/src/catalog/registry/tests/outage.rs";
const VERSIONS: &str = "layers/schema/src/catalog/registry/tests/versions.rs";
const CONFIG: &str = "src/config/tests/models.rs";
const GRAMMAR: &str = "src/config/tests.rs";
const E2E: &str = "tests/e2e/models.rs";
const CATALOGS: &str = "tests/e2e/catalogs.rs";
const SERIALIZERS: &str = "tests/e2e/serializers.rs";
const EXAMPLES: &str = "tests/e2e/examples.rs";

/// The beginning of a line, and the tests of each of its statements.
const LINES: [(&str, &[(&str, &str)]); 12] = [
    (
        "**Models.** `string`, `int32`",
        &[
            (CONFIG, "what_a_model_may_be"),
            (CONFIG, "what_a_model_may_not_be"),
            ("layers/schema/src/model/number.rs", "integers_are_a_sign_and_digits"),
            ("layers/schema/src/model/number.rs", "floats_are_digits_with_a_point_or_an_exponent"),
            ("layers/schema/src/model/number.rs", "lenient_models_pass_what_is_invalid_only"),
            ("layers/schema/src/model/range.rs", "bounds_are_included_or_not"),
            ("layers/schema/src/model/text.rs", "lengths_count_code_points"),
            (VECTORS, "json_is_delivered_as_it_came"),
            (VECTORS, "avro_becomes_json"),
            (VECTORS, "protobuf_becomes_json"),
            (VECTORS, "protobuf_without_a_view_loses_prefix_and_unknown_fields"),
            (E2E, "avro_is_json_for_a_stream"),
            (E2E, "protobuf_is_json_for_a_stream"),
            (E2E, "json_that_does_not_fit_is_left_out_or_told"),
            (E2E, "a_converted_key_is_the_key"),
            (E2E, "the_data_of_events_is_judged_for_each_path"),
            (EXAMPLES, "models_leave_out_what_does_not_fit"),
            (EXAMPLES, "registry_converts_keys_and_values"),
        ],
    ),
    (
        "**Catalogs.** `inline`, `filesystem`",
        &[
            (CATALOGS, "each_type_of_catalog_has_the_schema_of_a_topic_that_an_expression_names"),
            (CATALOGS, "a_registry_is_asked_by_tls_with_credentials_that_nothing_shows"),
            (VERSIONS, "the_latest_version_is_asked_for_again_after_max_age"),
            (SERIALIZERS, "a_record_of_confluents_serializers_is_its_json"),
            (SERIALIZERS, "a_record_of_apicurios_serializers_is_its_json"),
        ],
    ),
    (
        "**Transforms.** `extract-key`",
        &[
            (E2E, "fields_become_keys_and_headers"),
            (VECTORS, "fields_are_extracted_as_text"),
            (CONFIG, "what_a_model_may_not_be"),
        ],
    ),
    (
        "A registry that is away, slow, or answers 401",
        &[
            (E2E, "a_registry_that_is_away_holds_up_what_needs_it_and_loses_nothing"),
            (OUTAGE, "what_says_nothing_about_a_schema_is_no_answer"),
            (OUTAGE, "a_request_ends_after_the_timeout_and_holds_up_no_other"),
            ("layers/schema/tests/registry/hostile.rs", "a_slow_registry_has_five_seconds"),
            (
                "tests/browser/models.test.js",
                "a page shows an Avro topic while the registry is away",
            ),
        ],
    ),
    (
        "No record and no schema ends the process",
        &[
            (HOSTILE, "few_bytes_of_avro_do_not_become_much"),
            (HOSTILE, "few_bytes_of_protobuf_do_not_become_much"),
            (HOSTILE, "json_schemas_do_not_take_time_without_end"),
            (HOSTILE, "schema_texts_are_bounded"),
            (MODELS, "references_are_used_in_each_language"),
            (VECTORS, "protobuf_imports_and_well_known_types"),
        ],
    ),
    (
        "Mistakes in schemas and names of subjects",
        &[(CONFIG, "what_a_model_may_not_be"), (CONFIG, "files_of_schemas_are_read")],
    ),
    (
        "A left-out record is logged",
        &[(E2E, "avro_is_json_for_a_stream"), (E2E, "json_that_does_not_fit_is_left_out_or_told")],
    ),
    (
        "JSON has any size up to 16 MiB",
        &[
            (HOSTILE, "json_is_as_deep_and_large_as_the_limit"),
            (E2E, "a_large_value_is_delivered_whole"),
            (VECTORS, "avro_becomes_json"),
            (VECTORS, "avro_that_cannot_be_read_is_malformed"),
            (VECTORS, "json_is_delivered_as_it_came"),
        ],
    ),
    (
        "The prefix of Apicurio's serializers is removed",
        &[
            (MODELS, "the_prefix_of_apicurio_is_found_and_cut_off"),
            (MODELS, "a_message_of_apicurio_is_the_one_that_its_record_names"),
            (REQUESTS, "the_path_of_the_url_stays_and_segments_are_encoded"),
            ("layers/schema/src/framing.rs", "headers_name_the_schema"),
            (VECTORS, "a_file_of_protobuf_may_be_its_descriptor_in_base64"),
            (SERIALIZERS, "a_record_of_apicurios_serializers_is_its_json"),
        ],
    ),
    (
        "`key` and `value` take the short form",
        &[
            (CONFIG, "what_a_model_may_be"),
            (E2E, "an_expression_names_topics"),
            (E2E, "fields_become_keys_and_headers"),
            (CATALOGS, "each_type_of_catalog_has_the_schema_of_a_topic_that_an_expression_names"),
        ],
    ),
    ("Deletions pass the `content`", &[(E2E, "the_data_of_events_is_judged_for_each_path")]),
    (
        "models of `http` requests and of `sse` clients",
        &[
            (CONFIG, "models_of_the_client_side_have_no_effect"),
            (GRAMMAR, "all_of_the_grammar_parses_and_says_what_has_no_effect"),
        ],
    ),
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the chapter about what data means.
fn lines(chapter: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut heading = "";
    for line in chapter.lines() {
        if line.starts_with('#') {
            heading = line;
        }
        let Some(line) = line.strip_prefix("- ") else { continue };
        let begins = ["**Models.", "**Catalogs.", "**Transforms.", "models of "];
        if heading == "### Models" || begins.iter().any(|begins| line.starts_with(begins)) {
            lines.push(line);
        }
    }
    lines
}

#[test]
fn each_line_about_models_and_catalogs_is_held_by_tests() {
    let chapter = read("docs/reference/zilla.md");
    let lines = lines(&chapter);
    let beginnings: Vec<&str> = LINES.iter().map(|(begins, _)| *begins).collect();
    for line in &lines {
        let tested = beginnings.iter().any(|begins| line.starts_with(begins));
        assert!(tested, "no test is named for: {line}");
    }
    for (begins, tests) in LINES {
        assert!(lines.iter().any(|line| line.starts_with(begins)), "no line begins: {begins}");
        for (file, test) in tests {
            let text = read(file);
            let forms = [format!("fn {test}()"), format!("test('{test}'")];
            assert!(forms.iter().any(|form| text.contains(form)), "{file} has no test {test}");
        }
    }
}
