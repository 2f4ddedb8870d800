"""``python -m sagas``: runs the order saga's worker."""

from kit.app import serve
from sagas.settings import SagaSettings
from sagas.worker import create

if __name__ == "__main__":
    settings = SagaSettings()
    serve(create(settings), settings)
