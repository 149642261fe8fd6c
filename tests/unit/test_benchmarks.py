"""The figures of `make benchmark` come into the README as a table that people read."""

from __future__ import annotations

from benchmarks import run

figures = {
    "no_op_cases_per_s": 51.34,
    "plain_script_cases_per_s": 24.0,
    "no_op_to_plain_script_ratio": 2.1,
    "one_case_median_ms": 62.4,
    "one_case_p95_ms": 94.0,
    "submit_cases_per_s": 1874.2,
    "big_case_s": 1.29,
    "big_case_four_copies_s": 0.42,
    "big_case_to_four_copies_ratio": 3.1,
    "claims_per_s_1000_waiting_1_claimers": 518.0,
    "claims_per_s_1000_waiting_8_claimers": 944.0,
    "claims_per_s_100000_waiting_1_claimers": 484.0,
    "claims_per_s_100000_waiting_8_claimers": 1028.0,
    "claims_flatness_1_claimers_ratio": 1.07,
    "claims_flatness_8_claimers_ratio": 1.14,
    "machine_cores": 2.0,
}


def test_the_readme_s_table_is_written_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n{run.BEGIN}\nold\n{run.END}\nrest\n")

    run.write_table(readme, figures)

    text = readme.read_text()
    assert text.startswith(f"# Title\n{run.BEGIN}\nMeasured by `make benchmark` on 2 cores")
    assert text.endswith(f"{run.END}\nrest\n") and "old" not in text
    assert "| claims by 8 claimers, 1,000 / 100,000 cases waiting | 944 / 1,028 /s | fastest to slowest: 1.14 |" in text
    assert "| 51.3 cases/s | a plain script with one interpreter a case: 24.0 cases/s |" in text
