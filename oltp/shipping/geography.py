"""Places and the ways between them. Pure."""

import math
from typing import Final, NamedTuple

from contracts.orders import Address

EARTH_RADIUS_KM: Final = 6371.0088


class Point(NamedTuple):
    """A place on Earth in degrees."""

    latitude: float
    longitude: float


def distance_km(origin: Point, destination: Point) -> float:
    """Length of the great circle between two places."""
    return EARTH_RADIUS_KM * _angle(origin, destination)


def between(origin: Point, destination: Point, fraction: float) -> Point:
    """The place at ``fraction`` (0 to 1) of the great circle, rounded to 5 decimals (about a metre).

    Antipodes have no single great circle; the way between them is taken along the degrees.
    """
    angle = _angle(origin, destination)
    if angle < 1e-9:
        return _rounded(*origin)
    sine = math.sin(angle)
    if sine < 1e-9:
        return _rounded(
            origin.latitude + (destination.latitude - origin.latitude) * fraction,
            origin.longitude + (destination.longitude - origin.longitude) * fraction,
        )
    before, after = math.sin((1 - fraction) * angle) / sine, math.sin(fraction * angle) / sine
    lat1, lon1 = math.radians(origin.latitude), math.radians(origin.longitude)
    lat2, lon2 = math.radians(destination.latitude), math.radians(destination.longitude)
    x = before * math.cos(lat1) * math.cos(lon1) + after * math.cos(lat2) * math.cos(lon2)
    y = before * math.cos(lat1) * math.sin(lon1) + after * math.cos(lat2) * math.sin(lon2)
    z = before * math.sin(lat1) + after * math.sin(lat2)
    return _rounded(math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x)))


def route(origin: Point, destination: Point, points: int = 16) -> list[Point]:
    """Evenly spaced places from origin to destination, both included."""
    return [between(origin, destination, index / (points - 1)) for index in range(points)]


def locate(address: Address) -> Point | None:
    """Where an address lies: its own coordinates, else its country's centre, else unknown."""
    if address.latitude is not None and address.longitude is not None:
        return Point(address.latitude, address.longitude)
    return _COUNTRY_CENTRES.get(address.country)


def _angle(origin: Point, destination: Point) -> float:
    lat1, lat2 = math.radians(origin.latitude), math.radians(destination.latitude)
    half_lat = (lat2 - lat1) / 2
    half_lon = math.radians(destination.longitude - origin.longitude) / 2
    haversine = math.sin(half_lat) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(half_lon) ** 2
    return 2 * math.asin(math.sqrt(min(1.0, haversine)))


def _rounded(latitude: float, longitude: float) -> Point:
    return Point(round(latitude, 5), round(longitude, 5))


_COUNTRY_CENTRES: Final = {
    "AE": Point(24.0, 54.0),
    "AR": Point(-34.0, -64.0),
    "AT": Point(47.3, 13.3),
    "AU": Point(-25.3, 133.8),
    "BE": Point(50.8, 4.5),
    "BR": Point(-10.8, -53.1),
    "CA": Point(56.1, -106.3),
    "CH": Point(46.8, 8.2),
    "CL": Point(-35.7, -71.5),
    "CN": Point(35.9, 104.2),
    "CO": Point(4.6, -74.3),
    "CZ": Point(49.8, 15.5),
    "DE": Point(51.2, 10.4),
    "DK": Point(56.0, 10.0),
    "ES": Point(40.0, -4.0),
    "FI": Point(64.0, 26.0),
    "FR": Point(46.6, 2.4),
    "GB": Point(54.0, -2.5),
    "GR": Point(39.1, 22.9),
    "HU": Point(47.2, 19.5),
    "ID": Point(-2.5, 118.0),
    "IE": Point(53.2, -8.0),
    "IL": Point(31.4, 35.0),
    "IN": Point(22.4, 79.0),
    "IT": Point(42.8, 12.6),
    "JP": Point(36.2, 138.3),
    "KE": Point(0.2, 37.9),
    "KR": Point(36.4, 127.8),
    "MX": Point(23.6, -102.6),
    "MY": Point(4.2, 102.0),
    "NG": Point(9.1, 8.7),
    "NL": Point(52.2, 5.5),
    "NO": Point(64.6, 12.7),
    "NZ": Point(-41.8, 172.8),
    "PE": Point(-9.2, -75.0),
    "PH": Point(12.9, 121.8),
    "PL": Point(52.1, 19.4),
    "PT": Point(39.6, -8.0),
    "RO": Point(45.9, 25.0),
    "SE": Point(62.8, 16.7),
    "SG": Point(1.35, 103.8),
    "TH": Point(15.1, 101.0),
    "TR": Point(39.1, 35.2),
    "UA": Point(48.4, 31.2),
    "US": Point(39.8, -98.6),
    "VN": Point(16.2, 106.3),
    "ZA": Point(-29.0, 25.1),
}
