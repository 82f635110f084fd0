"""Experiments as values: documents, combinations, order, estimates; one bad file per complaint."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import sweep
from enos_crdb.campaign import load_experiment, shipped_experiments
from enos_crdb.config.fixed import unlike
from enos_crdb.errors import ConfigurationError
from enos_crdb.sweep import Clock, Experiment, Factor, Observed, Repetitions
from tests.unit.bad_files import expectation

BAD = Path(__file__).parents[1] / "data" / "bad-experiments"
FACTORS = {
    "rounds": Factor(path="openstack.keystone.password_hash_rounds", levels=[4, 8]),
    "cache": Factor(path="openstack.keystone.cache", levels=["memcached", "none"]),
    "times": Factor(path="bench.times", levels=[50, 100]),
}


def tiny(**values: Any) -> Experiment:
    return Experiment(**{"experiment": "tiny", "configuration": "local.yaml", "factors": FACTORS, **values})


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yml")), ids=lambda path: path.stem)
def test_a_bad_experiment_is_refused_with_its_message(path: Path) -> None:
    expected = expectation(path)
    with pytest.raises(ConfigurationError) as caught:
        sweep.plan(sweep.load(path))
    assert expected.fullmatch(str(caught.value)), f"\nsaid:     {caught.value}\nexpected: {expected.pattern}"


def test_there_is_a_bad_file_for_every_part_of_the_document() -> None:
    said = "".join(path.read_text() for path in BAD.glob("*.yml"))
    plain = {"title", "description", "licence", "doi", "keywords", "seed", "short"}
    assert [key for key in Experiment.model_fields if key not in plain and f"{key}" not in said] == []


def test_every_level_meets_every_other_once() -> None:
    plan = sweep.plan(tiny())
    assert len(plan.combinations) == 8
    assert plan.combinations[0].name == "rounds=4,cache=memcached,times=50"
    assert plan.combinations[-1].configuration.bench.times == 100
    assert plan.combinations[-1].configuration.openstack.keystone.cache == "none"


def test_what_is_excluded_is_not_run() -> None:
    plan = sweep.plan(tiny(exclude=[{"rounds": 8, "cache": "none"}, {"times": [50], "rounds": [4]}]))
    names = {combination.name for combination in plan.combinations}
    assert len(names) == 4
    assert not any("rounds=8,cache=none" in name or re.match("rounds=4.*times=50", name) for name in names)
    assert len(plan.excluded) == 4


def test_levels_that_set_several_paths() -> None:
    levels = {
        "one": {"database": {"backend": "mariadb"}},
        "three": {"database": {"backend": "galera"}, "machines.0.count": 3},
    }
    plan = sweep.plan(tiny(factors={"backend": Factor(levels=levels)}))
    assert [(c.configuration.database.backend, c.hosts) for c in plan.combinations] == [("mariadb", 2), ("galera", 4)]


def test_combinations_share_a_deployment_exactly_when_deploy_can_bring_about_the_difference() -> None:
    combinations = sweep.plan(tiny()).combinations
    for one in combinations:
        for other in combinations:
            documents = [{**c.configuration.model_dump(mode="json"), "name": "x"} for c in (one, other)]
            assert (one.key == other.key) == (unlike(*documents) is None)
    assert len({c.key for c in combinations}) == 2, "only the rounds need another deployment"
    assert {c.configuration.name for c in combinations} == {f"tiny-{c.key}" for c in combinations}


def test_a_block_holds_every_combination_once() -> None:
    plan = sweep.plan(tiny(repetitions=Repetitions(deployments=2, runs=3)))
    assert [item.number for item in plan.items] == list(range(1, 49))
    for block in range(1, 7):
        counted = Counter(item.combination for item in plan.items if item.block == block)
        assert counted == {combination.name: 1 for combination in plan.combinations}
    seen = Counter((item.combination, item.deployment_repetition, item.repetition) for item in plan.items)
    assert set(seen.values()) == {1}


def test_a_deployment_is_made_once_per_repetition() -> None:
    plan = sweep.plan(tiny(repetitions=Repetitions(deployments=2, runs=3)))
    places = [(item.deployment_repetition, plan.of(item).key) for item in plan.items]
    changes = [place for before, place in zip([None, *places], places, strict=False) if place != before]
    assert len(changes) == len(set(changes)) == len(plan.deployments) == 4


def test_equal_seeds_give_equal_orders_and_other_seeds_others() -> None:
    def order(seed: int) -> list[str]:
        items = sweep.plan(tiny(seed=seed, repetitions=Repetitions(deployments=2, runs=2))).items
        return [item.combination for item in items]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(6)}) > 1
    assert order(1)[:8] != order(1)[16:24], "each repetition is drawn anew"


def test_the_order_is_the_same_on_every_python() -> None:
    items = sweep.plan(tiny(repetitions=Repetitions(runs=1))).items
    assert [item.combination for item in items][:4] == [
        "rounds=4,cache=memcached,times=100",
        "rounds=4,cache=none,times=100",
        "rounds=4,cache=none,times=50",
        "rounds=4,cache=memcached,times=50",
    ]


def test_the_estimate_follows_what_was_observed() -> None:
    plan = sweep.plan(tiny(repetitions=Repetitions(runs=1)))
    guess = sweep.estimate(plan)
    assert guess.runs == 8
    assert guess.deployments == 2
    assert guess.node_hours == pytest.approx(guess.seconds * 2 / 3600), "two hosts"
    twice = {c.name: [2 * Clock(plan).run_s(c)] for c in plan.combinations[:4]}
    slower = sweep.estimate(plan, Observed(runs=twice, deployments=[20.0]))
    runs = guess.seconds - 2 * Clock(plan).deploy_s(plan.combinations[0])
    assert slower.seconds == pytest.approx(2 * runs + 2 * 23.0), "also of combinations that were not run yet"


def test_what_lives_need_not_be_deployed() -> None:
    plan = sweep.plan(tiny(repetitions=Repetitions(runs=1)))
    first = plan.items[0]
    living = (first.deployment_repetition, plan.of(first).key)
    assert Clock(plan).remaining([first], living=living).deployments == 0
    assert Clock(plan).remaining([first]).deployments == 1


def test_the_stored_document_plans_the_same_again() -> None:
    plan = sweep.plan(load_experiment("study_2018"))
    again = sweep.plan(sweep.make(plan.document(), source="campaign.json"))
    assert again.items == plan.items
    assert again.combinations == plan.combinations


@pytest.mark.parametrize("short", [False, True], ids=["full", "short"])
@pytest.mark.parametrize("name", shipped_experiments())
def test_a_shipped_experiment_plans(name: str, short: bool) -> None:
    experiment = load_experiment(name, short=short)
    assert experiment.experiment == name.replace("_", "-") + ("-short" if short else "")
    plan = sweep.plan(experiment)
    assert len(plan.combinations) > 1
    if short:
        backends = {combination.configuration.database.backend for combination in plan.combinations}
        assert backends <= {"postgresql", "mariadb", "galera"}, "a short variant runs anywhere"
        assert sweep.estimate(plan).seconds < 300


@pytest.mark.parametrize("name", [name for name, path in shipped_experiments().items() if path.suffix == ".py"])
def test_a_shipped_experiment_is_importable_python_that_fits_on_a_screen_or_two(name: str) -> None:
    module = importlib.import_module(f"experiments.{name}")
    assert module.experiment.experiment == name.replace("_", "-")
    assert 30 <= len(Path(str(module.__file__)).read_text().splitlines()) <= 80


def test_the_2018_study_is_one_file() -> None:
    plan = sweep.plan(load_experiment("study_2018"))
    hosts = {c.hosts - 1 for c in plan.combinations}
    assert hosts == {3, 9, 45}
    assert {c.configuration.emulation.constraints[0].delay_ms for c in plan.combinations} == {0, 50, 150}
    assert {c.configuration.bench.load for c in plan.combinations} == {"light", "heavy"}
    assert {len(c.configuration.bench.scenarios) for c in plan.combinations} == {7}


def test_the_command_line_replaces_values_of_the_document_and_of_its_configuration() -> None:
    overrides = ["repetitions.runs=1", "configuration.bench.times=7", "factors.load=null"]
    with pytest.raises(ConfigurationError, match=r"factors\.load: expected a mapping"):
        load_experiment("study_2018", overrides)
    experiment = load_experiment("study_2018", overrides[:2], short=True)
    plan = sweep.plan(experiment)
    assert {c.configuration.bench.times for c in plan.combinations} == {7}


def test_a_complaint_about_a_replaced_value_names_the_option() -> None:
    with pytest.raises(ConfigurationError, match=r"^--set configuration\.bench\.times=0: bench\.times: must be at lea"):
        sweep.plan(load_experiment("study_2018", ["configuration.bench.times=0"]))


def test_a_complaint_about_the_configuration_s_file_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nprovider: nspawn\nmachines: []\ndatabase: {backend: mariadb}\n")
    (tmp_path / "e.yaml").write_text("experiment: mine\nconfiguration: mine.yaml\n")
    with pytest.raises(ConfigurationError, match=r"mine\.yaml:3: machines: is too short"):
        sweep.plan(load_experiment(tmp_path / "e.yaml"))


def test_an_experiment_without_a_short_variant_says_so(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("experiment: mine\nconfiguration: local.yaml\n")
    with pytest.raises(ConfigurationError, match="has no short variant"):
        load_experiment(tmp_path / "e.yaml", short=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "has no object called `experiment`"),
        ("from enos_crdb.campaign import Experimnt\n", "cannot be executed: ImportError"),
        ("def\n", "cannot be executed: SyntaxError"),
        (
            "from enos_crdb.campaign import *\nexperiment = Experiment(experiment='A b', configuration='local.yaml')\n",
            r"e\.py: experiment: must be lower case",
        ),
    ],
    ids=["none", "import", "syntax", "document"],
)
def test_a_bad_python_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "e.py").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        load_experiment(tmp_path / "e.py")


def test_what_is_no_experiment_is_told_with_those_that_are_shipped(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is neither a file nor the name.*\n.*latency_impact"):
        load_experiment("latencyimpact")
    with pytest.raises(ConfigurationError, match="is a directory"):
        load_experiment(tmp_path)
    (tmp_path / "e.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"an experiment is a \.yaml or a \.py file"):
        load_experiment(tmp_path / "e.json")
    assert re.fullmatch(r"latency-impact", load_experiment("latency-impact").experiment)
