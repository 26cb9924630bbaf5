"""The parts of a report, for notebooks; as a command, ``trajectory-adacat report``."""

from trajectory_adacat.command_line import run_command
from trajectory_adacat.plotting.recorded import Density, density_of, pit_histograms, what_came
from trajectory_adacat.plotting.report.command import main
from trajectory_adacat.plotting.report.experiments import Material, RecordingSummary, load_material
from trajectory_adacat.plotting.report.figures import (
    PlotlyFigure,
    calibration_figures,
    curve_figures,
    profile_figures,
)
from trajectory_adacat.plotting.report.glance import Glance, failures, glances
from trajectory_adacat.plotting.report.page import render
from trajectory_adacat.recording import Recording, find_recordings, load_recording

__all__ = [
    "Density",
    "Glance",
    "Material",
    "PlotlyFigure",
    "Recording",
    "RecordingSummary",
    "calibration_figures",
    "curve_figures",
    "density_of",
    "failures",
    "find_recordings",
    "glances",
    "load_material",
    "load_recording",
    "main",
    "pit_histograms",
    "profile_figures",
    "render",
    "what_came",
]

if __name__ == "__main__":
    run_command(main)
