"""A random walk through the states of `JobMachine`, from a number.

Hypothesis explores and shrinks; its choices depend on its release and on what else is loaded. A walk is the same
wherever it is taken, so a search that starts from a known number takes a known time.
"""

from collections.abc import Callable
from random import Random

from tests.models.sessions import State
from tests.unit.lifecycle.job_machine import BEHAVIOURS, JobMachine

Move = Callable[[JobMachine, Random], None]

# Of what needs an operator, most moves are small steps, or no run would come far.
OF_OPERATORS: tuple[Move, ...] = (
    *[lambda m, r: m.operator_steps(r.randrange(40), [r.randrange(40) for _ in range(r.randint(1, 6))])] * 8,
    *[lambda m, r: m.watch_delivers(r.randrange(40))] * 6,
    lambda m, r: m.watch_repeats(r.randrange(40), r.randrange(40)),
    lambda m, r: m.operator_works(r.randrange(40)),
    lambda m, r: m.observation_starts(r.randrange(40)),
    lambda m, r: m.crash(r.randrange(40)),
    lambda m, r: m.stop_gets_lost(r.randrange(40)),
    lambda m, r: m.execution_is_lost(r.randrange(40), r.randrange(40)),
    lambda m, r: m.end_is_said_again(r.randrange(40), r.randrange(40)),
)
OF_OTHERS: tuple[Move, ...] = (
    lambda m, r: m.edit_template(r.choice("ABC")),
    *[lambda m, r: m.edit_and_edit_back(r.choice("AB"), r.choice("AB"), r.random() < 0.7)] * 2,
    lambda m, r: m.rerun(r.choice("12")),
    lambda m, r: m.edit_control(r.randrange(4)),
    lambda m, r: m.suspend_or_resume(r.random() < 0.3),
    lambda m, _: m.label(),
    lambda m, r: m.delete() if r.random() < 0.3 else m.label(),
    lambda m, r: m.recreate(r.choice("AB")),
    lambda m, r: m.decide_approval(r.random() < 0.7, r.random() < 0.2),
    lambda m, r: m.time_passes(r.choice([1, 10, 121, 1000])),
    lambda m, r: m.fault(r.choice(["lost answer", "lost request", "refused"])),
    lambda m, _: m.cancel_fails(),
    lambda m, r: m.session_ends(r.choice([State.COMPLETED, State.FAILED])),
)


def walk(machine: JobMachine, number: int, moves: int = 60) -> None:
    """Take the walk of this number, and come to rest."""
    random = Random(number)
    behaviours = random.choices(BEHAVIOURS, k=random.randrange(4))
    referring = number % 3 == 2
    machine.begin(behaviours, random.choice(["AwaitApproval", "Fail"]), random.random() < 0.5, referring)
    for _ in range(moves):
        world = machine.world
        if len(world.processes) < 2 and random.random() < 0.1:
            machine.start_operator()
        elif referring and random.random() < 0.1:
            machine.write_config_map(random.random() < 0.7)
        elif world.wire and random.random() < 0.3:
            machine.service_works(random.randrange(40))
        elif any(process.reports for process in world.processes) and random.random() < 0.05:
            machine.completion_repeats(random.randrange(40))
        elif world.processes and random.random() < 0.7:
            random.choice(OF_OPERATORS)(machine, random)
        else:
            random.choice(OF_OTHERS)(machine, random)
        machine.history_is_sound()
    machine.teardown()
