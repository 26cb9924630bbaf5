"""The published scores."""

from trajectory_adacat.plotting.published import PUBLISHED, load_published


def test_every_published_score_has_a_source_and_the_papers_table_is_complete() -> None:
    scores = load_published(["paper", "peers"])
    assert all(len(score.source) > 20 for score in scores)
    paper = {(score.method, score.dataset): (score.mean, score.standard_error) for score in load_published(["paper"])}
    assert len(paper) == 9
    assert paper["AdaCat", "hopper-medium-v2"] == (69.2, 4.5)
    assert paper["quantile", "halfcheetah-medium-v2"] == (46.9, 0.4)
    assert len(scores) == len({(score.group, score.method, score.dataset) for score in scores}) == 9 + 11 * 3
    assert PUBLISHED.is_file()
