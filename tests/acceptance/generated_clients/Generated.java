package javax.annotation;

/** The annotation of the Jakarta API of which generated classes have one each. */
public @interface Generated {
  String[] value();

  String date() default "";

  String comments() default "";
}
