"""The table of the outbox."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Create the table."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="OutboxJob",
            fields=[
                ("id", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("body", models.TextField()),
                ("next_at", models.FloatField(null=True)),
                ("first_sent_at", models.FloatField(null=True)),
                ("attempts", models.IntegerField(default=0)),
                ("error", models.TextField(null=True)),
            ],
            options={
                "db_table": "ava_outbox",
                "verbose_name": "outbox job",
                "indexes": [models.Index(fields=["next_at", "id"], name="ava_outbox_next_at")],
            },
        ),
    )
