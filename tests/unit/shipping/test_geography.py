"""Great circles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.orders import Address
from oltp.shipping.geography import Point, between, distance_km, locate, route

NEW_YORK, LONDON = Point(40.7128, -74.0060), Point(51.5074, -0.1278)
points = st.builds(Point, st.floats(-90, 90), st.floats(-180, 180))


def test_a_known_distance():
    assert distance_km(NEW_YORK, LONDON) == pytest.approx(5570, abs=5)


def test_the_way_over_the_atlantic_bends_north():
    way = route(NEW_YORK, LONDON, 15)
    assert len(way) == 15
    assert (way[0], way[-1]) == (NEW_YORK, LONDON)
    assert max(point.latitude for point in way) > 52


@given(points, points, st.floats(0, 1))
def test_every_place_between_is_on_earth(origin, destination, fraction):
    place = between(origin, destination, fraction)
    assert -90 <= place.latitude <= 90
    assert -180 <= place.longitude <= 180


def test_antipodes_and_the_same_place():
    assert between(Point(0, 0), Point(0, 180), 0.5) == Point(0, 90)
    assert between(LONDON, LONDON, 0.5) == LONDON


def test_an_address_lies_where_it_says_or_in_its_country():
    address = Address(name="A", line1="1", city="Berlin", postal_code="1", country="DE")
    assert locate(address) == Point(51.2, 10.4)
    precise = Address(name="A", line1="1", city="Berlin", postal_code="1", country="DE", latitude=52.52, longitude=13.4)
    assert locate(precise) == Point(52.52, 13.4)
    assert locate(Address(name="A", line1="1", city="?", postal_code="1", country="ZZ")) is None
