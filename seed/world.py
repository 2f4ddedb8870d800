"""The world that a plan describes: its customers, its products and their prices, and what they have in common."""

from seed import experiments, goods, history, stock, taste
from seed.history import World
from seed.people import people
from seed.plan import Plan


def world(plan: Plan, *, first_email: str | None = None) -> World:
    """Everything that the orders are drawn from. Takes some seconds for a full shop."""
    customers = people(plan, first_email=first_email)
    draft = goods.draft(plan)
    tastes = taste.tastes(plan)
    return World(
        plan=plan,
        people=customers,
        goods=goods.priced(plan, draft, history.sample(plan, customers, draft, tastes)),
        tastes=tastes,
        stocked=stock.stocked(plan),
        uplift=experiments.uplift(plan, customers),
    )
