# Two images from one file: `api` without torch, and `worker`, which trains.
#
#   docker build --target api    --tag fusebox-api .
#   docker build --target worker --tag fusebox-worker .
#
# The worker's torch comes from the package index as it is there: for Linux that is the CUDA build, which also runs on
# a CPU. A small image for machines without a GPU: --build-arg PIP_EXTRA_INDEX_URL=… with the index of CPU builds.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/venv/bin:$PATH FUSEBOX_DATA_DIR=/data
# A volume that is mounted there for the first time takes the folder's owner along.
RUN useradd --uid 10001 --create-home fusebox && install --directory --owner=fusebox --group=fusebox /data
WORKDIR /data

FROM base AS build
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
WORKDIR /src
# What we depend on, alone: made again only when that changes, not with each change of ours.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN for room in models_store training service migrations; do mkdir $room && touch $room/__init__.py; done

FROM build AS build-api
# "[gpu]" for an API that computes on a GPU.
ARG API_EXTRAS=""
RUN pip install --constraint constraints.txt ".${API_EXTRAS}"
COPY . .
RUN pip install --no-deps --force-reinstall .

FROM build AS build-worker
RUN pip install --constraint constraints.txt '.[train]'
COPY . .
RUN pip install --no-deps --force-reinstall .

FROM base AS api
COPY --from=build-api /venv /venv
USER fusebox
EXPOSE 8000
# Beyond loopback it starts only when there is an API key.
ENV FUSEBOX_HOST=0.0.0.0
CMD ["fusebox", "serve"]

FROM base AS worker
COPY --from=build-worker /venv /venv
USER fusebox
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["fusebox", "worker"]
