import pytest
from results_examples import example

from learngene_hub.report.findings import lead_over, ranked, rivals, standing, sweeps
from learngene_hub.report.results import Summary


@pytest.mark.parametrize(
    ("mean", "ci95", "side"),
    [
        (0.05, 0.02, "ahead"),
        (-0.05, 0.02, "behind"),
        (0.01, 0.02, "level"),
        (0.02, 0.02, "level"),
        (0.5, None, "unknown"),
    ],
)
def test_a_difference_counts_only_when_its_whole_interval_is_on_one_side(mean, ci95, side):
    assert standing(Summary(mean=mean, ci95=ci95)) == side


def test_rivals_are_all_but_scratch_and_the_gene():
    descendant = example(("learngene:a", "learngene:b", "scratch", "narrow", "full")).descendants[0]
    found = [one.start for one in rivals(descendant, "learngene:a", "60")]
    assert sorted(found) == ["full", "learngene:b", "narrow"]
    assert found == [one.start for one in ranked(descendant, "60") if one.start in found]
    assert [one.start for one in ranked(descendant, "60")][-1] == "scratch"


def test_the_first_learngene_has_paired_leads_and_the_second_differences_of_means():
    descendant = example(("learngene:a", "learngene:b", "scratch", "full")).descendants[0]
    full, scratch = descendant.start("full"), descendant.start("scratch")
    assert lead_over(descendant, "learngene:a", full, "60") == full.lead["60"]
    assert lead_over(descendant, "learngene:b", scratch, "60") == descendant.start("learngene:b").gain["60"]
    second = lead_over(descendant, "learngene:b", full, "60")
    means = [descendant.start(name).measures["60"].mean for name in ("learngene:b", "full")]
    assert second == Summary(mean=means[0] - means[1], ci95=None)
    beside = lead_over(descendant, "learngene:b", descendant.start("learngene:a"), "60")
    lead = descendant.start("learngene:b").lead["60"]
    assert (beside.mean, beside.ci95) == (-lead.mean, lead.ci95)


def test_sweeps_are_rows_of_descendants_that_differ_in_one_dimension():
    results = example(("learngene", "scratch", "full"), shapes=((0.5, 11), (1.0, 11), (0.25, 11), (0.5, 16)))
    width, depth = sweeps(results)
    assert (width.axis, width.fixed, width.values()) == ("width", "lg_vgg11, depth 11", [0.25, 0.5, 1.0])
    assert (depth.axis, depth.fixed, depth.values()) == ("depth", "lg_vgg11, width 0.5", [11.0, 16.0])
    assert width.starts() == ["learngene", "scratch"]
    assert sweeps(example(shapes=((0.5, 11), (1.0, 16)))) == []
