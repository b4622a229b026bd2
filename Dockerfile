# Every function of project.yml in one image, for where a namespace of functions is outgrown: docs/deploy.md.
# The API:  the command below.    The tick:  python -m serving.scheduler, in one or more containers of their own.
FROM python:3.11-slim-bookworm

WORKDIR /app
COPY requirements/serving.txt requirements/serving.txt
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements/serving.txt

COPY lib/getsmart lib/getsmart
COPY packages packages
COPY serving serving
COPY ops/__init__.py ops/functions.py ops/
COPY project.yml .

ENV PYTHONPATH=/app/lib:/app \
    PYTHONUNBUFFERED=1 \
    MONGODB_MAX_POOL_SIZE=16
RUN useradd --system --no-create-home getsmart
USER getsmart
EXPOSE 8080
STOPSIGNAL SIGTERM
CMD ["python", "-m", "serving", "--host", "0.0.0.0", "--port", "8080", "--workers", "2", "--threads", "16"]
