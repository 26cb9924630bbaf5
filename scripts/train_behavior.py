"""Train a behaviour policy by soft actor-critic and write it with the transitions of its training."""

from collections.abc import Sequence
from pathlib import Path

from trajectory_adacat.checks import check_can_create, check_positive, suggest
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.datasets.behavior_training import POLICY_FILE, BehaviorTrainer, BehaviorTraining, write_replay
from trajectory_adacat.datasets.collected import collected_path, own_dataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.scores import score
from trajectory_adacat.robots import ROBOTS, Robot
from trajectory_adacat.scripts.collect import summary
from trajectory_adacat.training.interruption import Interruption, telling_how_to_resume
from trajectory_adacat.training.lock import locked


class Parser(CommandParser):
    """Train a policy by Stable-Baselines3's SAC as D4RL made its medium sets; run again to continue.

    The policy goes to <output>/policy.npz, all transitions of the training to a dataset.
    """

    robot: str = "hopper"  # robot to train: hopper, halfcheetah, walker2d or ant
    steps: int = 1_000_000  # environment steps at most
    stop_score: float | None = 33.3  # normalized score of an evaluation that ends the training; none for all steps
    name: str | None = None  # name of the dataset of the training's transitions, by default <robot>-medium-replay
    seed: int = 0  # random seed of the networks, the environment and the noise
    random_steps: int = 1000  # steps with random actions before the first update
    evaluate_every: int = 10_000  # steps between evaluations; the training continues from each, or from a signal
    evaluation_episodes: int = 5  # episodes of an evaluation
    device: str = "cpu"  # torch device
    output: Path | None = None  # folder of the training, by default behavior/<robot>-<seed>
    overwrite: bool = False  # replace an existing dataset of this name


def find_robot(args: Parser) -> Robot:
    """Return the robot.

    Raises:
        InputError: if it is unknown, or has no reference returns for a score.
    """
    if args.robot not in ROBOTS:
        raise InputError(f"There is no --robot {args.robot}: {suggest(args.robot, ROBOTS)}")
    robot = ROBOTS[args.robot]
    if robot.reference_returns is None and args.stop_score is not None:
        raise InputError(f"{robot.id} has no normalized score: pass --stop_score none.")
    return robot


def stop_return(robot: Robot, stop_score: float | None) -> float | None:
    """Return the return that has a normalized score; None without one."""
    if stop_score is None or robot.reference_returns is None:
        return None
    low, high = robot.reference_returns
    return low + stop_score / 100 * (high - low)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, then write the dataset and print how to collect data of the policy."""
    args = Parser().parse(argv)
    check_positive(args, "steps", "random_steps", "evaluate_every", "evaluation_episodes")
    robot = find_robot(args)
    dataset = own_dataset(args.name or f"{robot.id}-medium-replay")
    if dataset.robot is not robot:
        raise InputError(f"--name {args.name} is of {dataset.robot.id}, and the policy of {robot.id}.")
    path = collected_path(dataset.name)
    if path.exists() and not args.overwrite:
        raise InputError(f"{path} exists already: pass --overwrite to replace it, or choose another --name.")
    folder = args.output or Path("behavior", f"{robot.id}-{args.seed}")
    check_can_create(folder, "--output")
    config = BehaviorTraining(robot.id, args.seed, args.random_steps, args.evaluate_every, args.evaluation_episodes)
    message = f"what the training has saved is kept in {folder}."
    with (
        telling_how_to_resume("train-behavior", argv, flag=None),
        locked(folder, "training", "--output"),
        Interruption(message) as interruption,
    ):
        trainer = BehaviorTrainer(config, robot, folder, args.device)
        print(f"training from step {trainer.steps}; an evaluation every {args.evaluate_every} steps", flush=True)
        end = stop_return(robot, args.stop_score)
        for record in trainer.run(args.steps, end, interruption.held, lambda: interruption.is_pending):
            scored = score(record["return"], robot.reference_returns)
            shown = "" if scored is None else f" (normalized {scored:.1f})"
            speed = 1 / record["seconds_per_step"]
            line = f"step {record['steps']}: return {record['return']:.0f}{shown}, {speed:.0f} steps per second"
            print(line, flush=True)
        write_replay(trainer.rows(), dataset, config, path, args.overwrite)
    print(summary(load_dataset(dataset.name), path))
    print(f"collect data of the policy with --policy {folder / POLICY_FILE} --name {robot.id}-own-medium")


if __name__ == "__main__":
    run_command(main)
